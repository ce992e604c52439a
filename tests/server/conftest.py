"""Tests over HTTP run on each carrier, and the fast one on each of the event loops it may meet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import uvloop
from tornado.ioloop import IOLoop

from tests.server import harness

LOOPS = {"llhttp": uvloop.new_event_loop, "llhttp-asyncio": asyncio.new_event_loop}


@pytest.fixture(params=["llhttp", "llhttp-asyncio", "tornado"])
def carrier(request: pytest.FixtureRequest) -> Iterator[str]:
    """What carries the requests of a test."""
    harness.transport = request.param.partition("-")[0]
    yield harness.transport
    harness.transport = "llhttp"


@pytest.fixture
def io_loop(request: pytest.FixtureRequest) -> Iterator[IOLoop]:
    """The loop that a test runs on; pytest-tornado looks for it under this name."""
    params = getattr(request.node, "callspec", None)
    name = params.params.get("carrier") if params else None
    loop = IOLoop(asyncio_loop=LOOPS.get(name, asyncio.new_event_loop)())
    loop.make_current()
    yield loop
    loop.clear_current()
    loop.close(all_fds=True)
