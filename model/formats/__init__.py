"""Which files can be served, and how each of their formats becomes an engine."""
