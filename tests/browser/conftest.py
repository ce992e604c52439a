"""The servers of the process tests, for a browser to look at."""

from tests.process.conftest import server, shared_server

__all__ = ["server", "shared_server"]
