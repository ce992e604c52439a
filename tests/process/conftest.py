"""Fixtures that start servers and load tests as child processes, and kill them after the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.process.harness import LoadTest, Server


class Start(Protocol):
    """Starts a server with these arguments, and waits until it is ready unless `ready` is False."""

    def __call__(self, *arguments: str, ready: bool = True, **options: Any) -> Server: ...


class StartLoad(Protocol):
    """Starts a load test on a server."""

    def __call__(self, server: Server, *arguments: str) -> LoadTest: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts servers with a fake model."""
    numbers = count(1)
    with ExitStack() as stack:

        def start(*arguments: str, ready: bool = True, **options: Any) -> Server:
            folder = tmp_path / f"server-{next(numbers)}"
            server = stack.enter_context(Server(folder, *arguments, **options))
            return server.until_ready() if ready else server

        yield start


@pytest.fixture
def start_load(tmp_path: Path) -> Iterator[StartLoad]:
    """A function that starts load tests."""
    numbers = count(1)
    with ExitStack() as stack:

        def start_load(server: Server, *arguments: str) -> LoadTest:
            folder = tmp_path / f"load-{next(numbers)}"
            return stack.enter_context(LoadTest(server, folder, *arguments))

        yield start_load


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("shared") / "server") as server:
        yield server.until_ready()


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """A server with a fake model, shared by the tests of a file."""
    yield shared_server
    shared_server.release_all()
