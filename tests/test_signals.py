"""Handlers of signals on the event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import uvloop

from server.signals import on_signal

LOOPS = [uvloop.new_event_loop, asyncio.new_event_loop]


def kill_when_idle() -> None:
    """Send SIGHUP while the event loop waits."""
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    """Give the signals back to those who had them."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_signal_that_comes_while_another_one_is_handled_calls_its_handler_once(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Handlers added with `add_signal_handler` of uvloop are called twice."""
    calls = []

    async def both() -> None:
        on_signal(signal.SIGTERM, calls.append)
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        await asyncio.to_thread(kill_when_idle)
        while not calls:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(both())
    assert calls == [signal.SIGTERM]


def test_a_signal_after_the_loop_is_closed_is_ignored() -> None:
    calls = []

    async def handle() -> None:
        on_signal(signal.SIGHUP, calls.append)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(handle())
    os.kill(os.getpid(), signal.SIGHUP)
    assert not calls
