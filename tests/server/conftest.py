"""Tests over HTTP run on each carrier; `make torture` has the fast one on asyncio's loop, too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import uvloop
from tornado.ioloop import IOLoop

from tests.server import harness

LOOPS = {"llhttp": uvloop.new_event_loop, "llhttp-asyncio": asyncio.new_event_loop}


CARRIERS = [
    "llhttp",
    "tornado",
    pytest.param("llhttp-asyncio", marks=pytest.mark.torture),  # where there is no uvloop
]


@pytest.fixture(params=CARRIERS)
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
