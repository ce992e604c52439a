"""Bytes on sockets: the two HTTP servers that `http.transport` chooses from."""
