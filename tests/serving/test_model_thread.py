"""The model's thread: calls in their order, and a loop that goes on."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from server.serving.model_thread import ModelThread

pytestmark = pytest.mark.gen_test


async def test_calls_are_made_in_their_order_and_the_loop_goes_on_meanwhile():
    thread, gate = ModelThread(), threading.Event()
    calls = [thread.call(gate.wait), thread.call(lambda: "second"), thread.call(lambda: "third")]

    await asyncio.sleep(0)
    assert not any(call.done() for call in calls)
    gate.set()
    assert await asyncio.gather(*calls) == [True, "second", "third"]
    thread.stop()


async def test_a_call_that_begins_late_does_not_upset_the_next_ones():
    thread, gate = ModelThread(), threading.Event()
    late = [thread.call(gate.wait), thread.call(int)]  # the loop has not waited for the second
    gate.set()
    await asyncio.gather(*late)

    assert [await thread.call(abs, -n) for n in range(50)] == list(range(50))
    thread.stop()


async def test_what_a_call_raises_is_its_own():
    thread = ModelThread()
    with pytest.raises(ZeroDivisionError):
        await thread.call(divmod, 1, 0)
    with pytest.raises(RuntimeError, match="SystemExit"):
        await thread.call(exit)
    assert await thread.call(divmod, 7, 2) == (3, 1)
    thread.stop()


async def test_the_loop_steps_aside_until_a_call_ends():
    thread, gate = ModelThread(), threading.Event()
    for _ in range(3):
        gate.clear()
        call = thread.call(gate.wait)
        threading.Timer(0.02, gate.set).start()
        thread.step_aside(60)
        assert gate.is_set()
        assert await call
    thread.stop()


async def test_the_loop_steps_aside_for_no_longer_than_it_was_told():
    thread, gate = ModelThread(), threading.Event()
    call = thread.call(gate.wait)
    thread.step_aside(0.001)
    assert not call.done()
    gate.set()
    assert await call
    thread.stop()


async def test_the_loop_does_not_step_aside_for_a_thread_that_has_nothing_to_do():
    thread = ModelThread()
    await thread.call(int)
    started = time.monotonic()
    thread.step_aside(60)
    assert time.monotonic() - started < 30
    thread.stop()
