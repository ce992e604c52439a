"""The model's thread: calls in their order, and a loop that goes on."""

from __future__ import annotations

import asyncio
import threading

import pytest

from server.model_thread import ModelThread

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
