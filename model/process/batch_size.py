"""Measures how many rows a model call should have, for `batching.max_rows: auto`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import median
from typing import NamedTuple, TypeVar

from model.process.memory import Memory

log = logging.getLogger(__name__)

T = TypeVar("T")

GOOD_ENOUGH = 0.95  # of the best throughput; the last 5 % are not worth a longer call
TRIES = 3  # calls of one size before it counts as too slow
ROUNDS = 15
MEMORY_SHARE = 0.5  # of what is left: the rest is for requests, and for a guess that is wrong


@dataclass(frozen=True)
class Limits:
    """Limits of the measurement.

    Attributes:
        rows: the most rows in a call.
        call_seconds: the longest call.
        nbytes: the most bytes of input and output in a call.
        seconds: the longest time in total; a call in progress is not interrupted.
    """

    rows: int = 1024
    call_seconds: float = 0.05
    nbytes: int = 64 * 2**20
    seconds: float = 10.0


class Point(NamedTuple):
    """How long a call with `rows` rows takes."""

    rows: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """The throughput of such calls."""
        return self.rows / self.seconds


class BatchSize(NamedTuple):
    """The most rows in a call, and the measurements behind it (none if it was set)."""

    rows: int
    curve: tuple[Point, ...] = ()

    def __str__(self) -> str:
        if not self.curve:
            return str(self.rows)
        speeds = (f"{point.rows:,}: {point.rows_per_second:,.0f}" for point in self.curve)
        return f"{self.rows} (rows/s by rows in a call: {'; '.join(speeds)})"


class Size:
    """Calls with so many rows, how long they took, and how large the answers are."""

    def __init__(self, rows: int, call: Callable[[], int]) -> None:
        self.rows = rows
        self.seconds: list[float] = []
        self.answer_nbytes = 0
        self._call = call

    def time(self, clock: Callable[[], float]) -> float:
        """Make a call; return how long it took."""
        started = clock()
        self.answer_nbytes = self._call()
        self.seconds.append(max(clock() - started, 1e-9))
        return self.seconds[-1]

    def point(self) -> Point:
        """Return the median, which a single slow call does not change."""
        return Point(self.rows, median(self.seconds))


def measure(
    prepare: Callable[[int], Callable[[], int]],
    row_nbytes: int,
    limits: Limits,
    clock: Callable[[], float] = time.perf_counter,
    memory: Memory | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> BatchSize:
    """Time calls with 1, 2, 4, … rows, and choose a size.

    `prepare` returns a call with so many rows that has been made once, as first calls are slow;
    the call returns the size of its answer in bytes. A size is not tried when the process would
    grow by more than half of the memory that is left, judged by how it grew for the size before.
    `tell` gets each size before it is tried: it may be the one that memory is not enough for.
    """
    memory = memory or Memory()
    end = clock() + limits.seconds
    sizes: list[Size] = []
    growth = 0
    for rows in sizes_within(limits, row_nbytes):
        if sizes and (clock() >= end or not fits(sizes[-1], row_nbytes, limits)):
            break
        if sizes and growth > MEMORY_SHARE * memory.available():
            log.info("calls of %d rows are not tried: they might take %d MiB", rows, growth >> 20)
            break
        tell(f"measuring the batch size: calls of {rows:,} rows")
        growth, call = growth_of(memory, partial(prepare, rows))
        sizes.append(Size(rows, call))
        if not is_short(sizes[-1], limits.call_seconds, end, clock):
            break
    time_in_turn(sizes, limits.call_seconds, end, clock)
    if has_outliers(sizes):  # such as a cgroup out of its quota of CPU time
        time_in_turn(sizes, limits.call_seconds, end, clock)
    curve = tuple(size.point() for size in sizes)
    return BatchSize(choose(curve, limits.call_seconds), curve)


def growth_of(memory: Memory, make_call: Callable[[], T]) -> tuple[int, T]:
    """Return the bytes that twice the rows may take beyond what is there now, and the call."""
    memory.reset_peak()
    before = memory.resident()
    call = make_call()
    return 2 * max(0, memory.peak() - before), call


def fits(size: Size, row_nbytes: int, limits: Limits) -> bool:
    """Return whether input and output of twice the rows are within the limit on bytes."""
    return 2 * (size.rows * row_nbytes + size.answer_nbytes) <= limits.nbytes


def has_outliers(sizes: Sequence[Size]) -> bool:
    """Return whether a call took longer than one with twice its rows, which cannot be."""
    return any(one.seconds > 1.1 * two.seconds for one, two in pairwise(s.point() for s in sizes))


def choose(curve: Sequence[Point], call_seconds: float) -> int:
    """Return the fewest rows with 95 % of the best throughput among calls that are short enough."""
    short = [point for point in curve if point.seconds <= call_seconds] or curve[:1]
    best = max(point.rows_per_second for point in short)
    return next(point.rows for point in short if point.rows_per_second >= GOOD_ENOUGH * best)


def sizes_within(limits: Limits, row_nbytes: int) -> list[int]:
    """Return the powers of two within the limits of rows and bytes, at least 1."""
    most = max(1, min(limits.rows, limits.nbytes // max(1, row_nbytes)))
    return [2**power for power in range(most.bit_length())]


def is_short(size: Size, call_seconds: float, end: float, clock: Callable[[], float]) -> bool:
    """Return whether a call is short enough; one that is not, may only have been disturbed."""
    for _ in range(TRIES):
        if size.time(clock) <= call_seconds:
            return True
        if clock() >= end:
            break
    return False


def time_in_turn(
    sizes: Sequence[Size], call_seconds: float, end: float, clock: Callable[[], float]
) -> None:
    """Time all sizes in turn, so that a busy phase of the machine slows all of them equally."""
    short = [size for size in sizes if min(size.seconds) <= call_seconds]
    if len(short) < 2:
        return  # nothing to choose from
    for _ in range(ROUNDS):
        for size in short:
            if clock() >= end:
                return
            size.time(clock)
