"""The servers of the process tests, for the browser tests."""

from tests.process.conftest import server, shared_server

__all__ = ["server", "shared_server"]
