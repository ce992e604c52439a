"""Bodies that are made in a thread, once for all who ask."""

from __future__ import annotations

import asyncio
import gzip
import sys
import threading

import pytest

from server.handlers.made_once import MadeOnce


class Maker:
    """Makes a body when the test allows it.

    Attributes:
        threads: the thread of every call.
    """

    def __init__(self, body: bytes = b"body") -> None:
        self.threads: list[int] = []
        self.may_end = threading.Event()
        self._body = body

    def __call__(self) -> bytes:
        self.threads.append(threading.get_ident())
        assert self.may_end.wait(20)
        return self._body


@pytest.mark.gen_test
async def test_a_body_is_made_once_in_another_thread_and_shared() -> None:
    made, make = MadeOnce(8), Maker()
    asking = [asyncio.ensure_future(made.get("key", make)) for _ in range(20)]
    await asyncio.sleep(0)  # the loop is free meanwhile
    make.may_end.set()
    bodies = await asyncio.gather(*asking, made.get("key", make))

    assert len(make.threads) == 1
    assert make.threads[0] != threading.get_ident()
    assert all(body is bodies[0] for body in bodies)
    assert bodies[0].plain == gzip.decompress(bodies[0].gzipped) == b"body"


@pytest.mark.gen_test
async def test_the_event_loop_waits_less_for_the_thread_meanwhile() -> None:
    """Whether it was made or not, everything is as before afterwards."""
    made, usual = MadeOnce(8), sys.getswitchinterval()

    def interval() -> bytes:
        return str(sys.getswitchinterval()).encode()

    def fail() -> bytes:
        raise ValueError("no")

    assert float((await made.get("key", interval)).plain) < usual
    assert sys.getswitchinterval() == usual
    with pytest.raises(ValueError, match="no"):
        await made.get("other", fail)
    assert sys.getswitchinterval() == usual


@pytest.mark.gen_test
async def test_a_reader_that_leaves_takes_nothing_from_the_others() -> None:
    made, make = MadeOnce(8), Maker()
    one, other = (asyncio.ensure_future(made.get("key", make)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    make.may_end.set()

    assert (await other).plain == b"body"


@pytest.mark.gen_test
async def test_what_failed_is_made_again() -> None:
    made, make = MadeOnce(8), Maker()
    make.may_end.set()

    def fail() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await made.get("key", fail)
    assert (await made.get("key", make)).plain == b"body"


@pytest.mark.gen_test
async def test_those_that_were_asked_for_last_are_kept() -> None:
    made = MadeOnce(2)
    calls: list[str] = []

    def make(key: str) -> bytes:
        calls.append(key)
        return key.encode()

    for key in ("a", "b", "a", "c", "a", "b"):
        assert (await made.get(key, lambda key=key: make(key))).plain == key.encode()

    assert calls == ["a", "b", "c", "b"]


@pytest.mark.gen_test
async def test_one_is_made_at_a_time() -> None:
    made, slow, other = MadeOnce(8), Maker(), Maker()
    other.may_end.set()
    asking = [asyncio.ensure_future(made.get(make, make)) for make in (slow, other)]
    while not slow.threads:
        await asyncio.sleep(0)
    assert not other.threads
    slow.may_end.set()
    await asyncio.gather(*asking)

    assert other.threads
