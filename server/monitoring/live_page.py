"""How the service fares, second by second: one snapshot for everybody who watches.

It reads counts that are kept anyway; a request costs nothing more for being watched.
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
    """What the counts and gauges say at a moment; counts are since the start."""

    state: str
    model: str
    version: str
    answered: int
    others: int  # requests that got anything but a prediction
    durations: Sequence[int]  # by the buckets of DURATION_BUCKETS
    calls: int
    call_rows: float
    refusals: dict[str, int]
    queue_rows: int
    lag_seconds: float


def read(service: Service) -> Reading:
    """Return what a service's counts say now."""
    counts = service.counts
    statuses = [item for account in counts.requests.values() for item in account.by_status.items()]
    model = service.default.current
    return Reading(
        state=service.state.value,
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
    """Takes a snapshot once a second, keeps five minutes of them, sends each to who listens."""

    def __init__(self, read: Callable[[], Reading], broadcast: Broadcast | None = None) -> None:
        self._read = read
        self.broadcast = broadcast or Broadcast()
        self._history: deque[str] = deque(maxlen=KEPT_SECONDS)
        self._before = read()
        self._at = time.perf_counter()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; call it on the event loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(loop.time() + 1, self._tick)

    def end(self) -> None:
        """Take no more, and end all streams."""
        if self._timer:
            self._timer.cancel()
        self.broadcast.end()

    async def follow(self, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Write the last five minutes, and then each second's snapshot, as server-sent events."""
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
    """Return what happened between two readings: rates a second, times in milliseconds."""
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
    """Estimate a quantile of durations in seconds, linearly within its bucket; None of none.

    What is above the last bound counts as the last bound.
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
    """Return seconds as milliseconds, to the microsecond."""
    return None if seconds is None else round(seconds * 1000, 3)
