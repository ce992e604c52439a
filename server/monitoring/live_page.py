"""The events behind the live page: one snapshot per second, sent to every listener.

It reads counters that exist anyway, so a request costs no more while somebody watches.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from server.monitoring.broadcast import Broadcast
from server.serving.counts import DURATION_BUCKETS
from server.serving.service import Service

KEPT_SECONDS: Final = 300


class Reading(NamedTuple):
    """The counters, since the start, and the gauges at one moment."""

    state: str
    model: str
    version: str
    answered: int
    others: int  # requests that got no prediction
    durations: Sequence[int]  # a counter for each of DURATION_BUCKETS
    calls: int
    call_rows: float
    refusals: dict[str, int]
    queue_rows: int
    lag_seconds: float


def read(service: Service) -> Reading:
    """Read the counters and gauges of a service."""
    counts = service.counts
    statuses = [item for account in counts.requests.values() for item in account.by_status.items()]
    model = service.default.current
    return Reading(
        state=service.condition,
        model=model.name if model else "",
        version=model.version if model else "",
        answered=sum(times for status, times in statuses if status < 300),
        others=sum(times for status, times in statuses if status >= 300),
        durations=list(counts.durations.counts),
        calls=sum(counts.batch_rows.counts),
        call_rows=counts.batch_rows.sum,
        refusals=dict(counts.refusals),
        queue_rows=sum(each.batcher.queue.rows for each in service.repository.models()),
        lag_seconds=service.loop_lag.recent,
    )


class LivePage:
    """Makes a snapshot per second, keeps those of five minutes, sends each to all listeners."""

    def __init__(self, read: Callable[[], Reading], broadcast: Broadcast | None = None) -> None:
        self._read = read
        self.broadcast = broadcast or Broadcast()
        self._history: deque[str] = deque(maxlen=KEPT_SECONDS)
        self._before = read()
        self._at = time.perf_counter()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start the timer; call it on the event loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(loop.time() + 1, self._tick)

    def end(self) -> None:
        """Stop the timer, and end all streams of events."""
        if self._timer:
            self._timer.cancel()
        self.broadcast.end()

    async def follow(self, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Write the last five minutes, then each new snapshot, as server-sent events."""
        history = "retry: 1000\n" + event("history", f"[{','.join(self._history)}]")
        await self.broadcast.follow(history.encode(), write)

    def _tick(self) -> None:
        self.start()
        now, reading = time.perf_counter(), self._read()
        text = json.dumps(snapshot(self._before, reading, now - self._at))
        self._before, self._at = reading, now
        self._history.append(text)
        self.broadcast.send(event("second", text).encode())


def event(name: str, data: str) -> str:
    """Return a server-sent event; its data is one line."""
    return f"event: {name}\ndata: {data}\n\n"


def snapshot(before: Reading, after: Reading, seconds: float) -> dict[str, Any]:
    """Return what happened between two readings: rates per second, times in milliseconds."""
    durations = [b - a for a, b in zip(before.durations, after.durations, strict=True)]
    calls = after.calls - before.calls
    refusals = {
        reason: times - before.refusals.get(reason, 0) for reason, times in after.refusals.items()
    }
    return {
        "time": round(time.time(), 1),
        "state": after.state,
        "model": after.model,
        "version": after.version,
        "answered": round((after.answered - before.answered) / seconds, 1),
        "others": round((after.others - before.others) / seconds, 1),
        "p50_ms": milliseconds(quantile(durations, 0.5)),
        "p99_ms": milliseconds(quantile(durations, 0.99)),
        "batch_rows": round((after.call_rows - before.call_rows) / calls, 1) if calls else None,
        "queue_rows": after.queue_rows,
        "refused": round(sum(refusals.values()) / seconds, 1),
        "refusals": {reason: times for reason, times in refusals.items() if times},
        "lag_ms": milliseconds(after.lag_seconds),
    }


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Estimate a quantile of durations, in seconds, linearly within its bucket.

    Values above the last bound count as that bound. None if there are no values.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    for (lower, upper), times in zip(pairwise((0.0, *DURATION_BUCKETS)), counts, strict=False):
        if wanted <= times:
            return lower + (upper - lower) * wanted / times
        wanted -= times
    return DURATION_BUCKETS[-1]


def milliseconds(seconds: float | None) -> float | None:
    """Convert seconds to milliseconds, rounded to microseconds."""
    return None if seconds is None else round(seconds * 1000, 3)
