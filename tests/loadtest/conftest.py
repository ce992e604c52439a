"""The server that load tests are tried on."""

import pytest

from tests.loadtest.scripted_server import ScriptedServer


@pytest.fixture
def server():
    """A running server that answers everything rightly till it is told otherwise."""
    with ScriptedServer() as running:
        yield running
