"""Deadlines: each expires once and on time, with one timer for all of them."""

from __future__ import annotations

import asyncio

import pytest

from server.batching.deadlines import Deadlines
from tests.support.fakes import keeping_less_than

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

    def time(self) -> float:
        return self.loop.time()

    def call_at(self, *arguments: object) -> asyncio.TimerHandle:
        self.timers.append(self.loop.call_at(*arguments))
        return self.timers[-1]


async def test_each_entry_expires_once_and_not_early():
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


async def test_later_deadlines_need_no_timer_of_their_own():
    loop = CountingLoop()
    deadlines = Deadlines(loop)
    entries = [Entry() for _ in range(100)]
    for seconds, entry in enumerate(entries):
        deadlines.add(loop.time() // 1 + 3600 + seconds // 10, entry)
    assert len(loop.timers) == 1


async def test_an_earlier_deadline_is_not_missed():
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    late, early = Entry(), Entry()
    deadlines.add(loop.time() + 3600, late)
    deadlines.add(loop.time() + 0.01, early)

    await asyncio.sleep(0.03)
    assert (len(late.expired), len(early.expired)) == (0, 1)


async def test_removed_entries_do_not_expire_and_later_ones_do():
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    gone, behind = [Entry(), Entry()], Entry()
    for milliseconds, entry in zip((10, 12), gone, strict=True):
        deadlines.remove(deadlines.add(loop.time() + milliseconds / 1000, entry), entry)
    deadlines.add(loop.time() + 0.02, behind)

    await asyncio.sleep(0.05)
    assert [entry.expired for entry in gone] == [[], []]
    assert len(behind.expired) == 1


async def test_an_entry_can_be_added_while_others_expire():
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    later, added = Entry(), Entry()

    class Adding(Entry):
        def expire(self) -> None:
            super().expire()
            deadlines.add(loop.time() + 0.03, added)

    deadlines.add(loop.time() + 0.005, Adding())
    deadlines.add(loop.time() + 0.015, later)
    await asyncio.sleep(0.07)
    assert (len(later.expired), len(added.expired)) == (1, 1)
    assert later.expired < added.expired


async def test_removing_an_entry_while_others_of_its_bucket_expire_is_harmless():
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    when = loop.time() + 0.01

    class Leaving(Entry):
        def expire(self) -> None:
            super().expire()
            deadlines.remove(bucket, self)

    entries = [Leaving(), Leaving()]
    bucket, _ = (deadlines.add(when, entry) for entry in entries)
    await asyncio.sleep(0.03)
    assert [len(entry.expired) for entry in entries] == [1, 1]

    again = Entry()
    deadlines.add(when, again)  # a time that has passed
    await asyncio.sleep(0.01)
    assert len(again.expired) == 1


async def test_removed_entries_take_no_memory():
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    with keeping_less_than(100_000):  # 5 bytes for each
        for n in range(20_000):
            entry = Entry()
            deadlines.remove(deadlines.add(loop.time() + 3600 + n / 1000, entry), entry)
