"""Fixtures of the load test's tests."""

import pytest

from tests.loadtest.scripted_server import ScriptedServer


@pytest.fixture
def server():
    """A running server that answers every request correctly, unless its `answer` is replaced."""
    with ScriptedServer() as running:
        yield running
