"""Fixtures of the load test's tests."""

import orjson
import pytest

from server.loadtest.command import main
from tests.loadtest.scripted_server import ScriptedServer


@pytest.fixture
def server():
    """A running server that answers every request correctly, unless its `answer` is replaced."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def load(server, tmp_path):
    """Run the load test on the server; return its exit code and its results."""

    def run(*flags, load_model=None):
        file = tmp_path / "numbers.json"
        code = main(["--url", server.url, "--json", str(file), *flags], load_model)
        return code, orjson.loads(file.read_bytes())

    return run
