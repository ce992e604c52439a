"""Deadlines: each heard of once, in its time, with one timer for those of a millisecond."""

from __future__ import annotations

import asyncio

import pytest

from server.deadlines import Deadlines

pytestmark = pytest.mark.gen_test


class Entry:
    """Remembers when it expired, by the loop's clock."""

    def __init__(self) -> None:
        self.expired: list[float] = []

    def expire(self) -> None:
        self.expired.append(asyncio.get_running_loop().time())


class CountingLoop:
    """Counts the timers that are started on a loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.timers: list[asyncio.TimerHandle] = []

    def call_at(self, *arguments: object) -> asyncio.TimerHandle:
        self.timers.append(self.loop.call_at(*arguments))
        return self.timers[-1]


async def test_each_expires_once_and_not_before_its_time():
    now = asyncio.get_running_loop().time()
    deadlines = Deadlines(asyncio.get_running_loop())
    times = [now + 0.03, now + 0.01, now + 0.02, now - 1]
    entries = [Entry() for _ in times]
    for when, entry in zip(times, entries, strict=True):
        deadlines.add(when, entry)

    await asyncio.sleep(0.06)

    assert [len(entry.expired) for entry in entries] == [1, 1, 1, 1]
    assert all(e.expired[0] >= when for e, when in zip(entries, times, strict=True))
    assert entries[1].expired < entries[2].expired < entries[0].expired


async def test_those_of_a_millisecond_share_a_timer():
    loop = CountingLoop()
    deadlines = Deadlines(loop)
    entries = [Entry() for _ in range(100)]
    for entry in entries:
        deadlines.add(loop.loop.time() // 1 + 3600, entry)
    assert len(loop.timers) == 1


async def test_the_last_to_be_forgotten_takes_the_timer_with_it():
    loop = CountingLoop()
    deadlines = Deadlines(loop)
    when = loop.loop.time() + 0.01
    one, other = Entry(), Entry()
    moments = [(deadlines.add(when, entry), entry) for entry in (one, other)]

    deadlines.forget(*moments[0])
    assert not loop.timers[0].cancelled()
    deadlines.forget(*moments[1])
    assert loop.timers[0].cancelled()
    await asyncio.sleep(0.03)
    assert one.expired == other.expired == []


async def test_to_forget_one_as_others_of_its_time_expire_is_harmless():
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    when = loop.time() + 0.01

    class Leaving(Entry):
        def expire(self) -> None:
            super().expire()
            deadlines.forget(moment, self)

    entries = [Leaving(), Leaving()]
    moment, _ = (deadlines.add(when, entry) for entry in entries)
    await asyncio.sleep(0.03)
    assert [len(entry.expired) for entry in entries] == [1, 1]

    again = Entry()
    deadlines.add(when, again)  # a time that has passed
    await asyncio.sleep(0.01)
    assert len(again.expired) == 1
