"""Sends the requests that a schedule makes due, over a limited number of connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import perf_counter, process_time
from typing import Any

from server.loadtest.client import Connection, Target
from server.loadtest.schedule import Schedule
from server.loadtest.tally import Tally

TICK = 0.1  # seconds between two checks of timeouts
RETRY_AFTER = 0.1  # seconds until a refused connection is tried again
GONE_AFTER = 5.0  # seconds without a connection or an answer, after which the server is gone
TIMER = 0.001  # resolution of an event loop's timers, in seconds

Check = Callable[[int, bytes], bool]  # number of the message, body of its answer


class LoadGenerator:
    """Sends `messages` one after another, over and over, and records each outcome in a tally."""

    def __init__(
        self,
        target: Target,
        messages: Sequence[bytes],
        schedule: Schedule,
        tally: Tally,
        *,
        connections: int = 64,
        timeout: float = 60.0,
        check: Check | None = None,
    ) -> None:
        """Use at most `connections` at a time; `check` verifies every answer with status 200."""
        self._target = target
        self._messages = messages
        self._schedule = schedule
        self._tally = tally
        self._limit = connections
        self._timeout = timeout
        self._check = check
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._done = asyncio.Event()
        self._alive_at = 0.0
        self._error: Exception | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since `run` began."""
        return perf_counter() - self._began

    @property
    def in_flight(self) -> int:
        """The number of requests sent and neither answered nor lost."""
        return self._tally.sent - self._tally.settled

    async def run(self) -> None:
        """Return when every request that was due is answered or lost, or the server is gone."""
        asyncio.get_running_loop().set_exception_handler(self._failed)
        self._began = perf_counter()
        cpu_began = process_time()
        async with asyncio.TaskGroup() as self._tasks:
            watch = self._tasks.create_task(self._watch())
            self._look(self.elapsed)
            try:
                await self._done.wait()
            finally:
                self._tally.seconds = self.elapsed
                self._tally.cpu_seconds = process_time() - cpu_began
                self._end(watch)
        if self._error:
            raise self._error

    def _end(self, watch: asyncio.Task[None]) -> None:
        self._done.set()
        for task in (watch, *self._opening):
            task.cancel()
        for connection in self._open:
            connection.abort()

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Stop the load test and raise the error of a callback: its results would be useless."""
        self._error = context.get("exception") or RuntimeError(context["message"])
        self._done.set()

    def stop(self) -> None:
        """Send no more requests; `run` returns when those in flight are answered or lost."""
        self._schedule.close()
        self._end_if_finished()

    # Callbacks of the connections.

    def answered(self, connection: Connection) -> None:
        """Count and check an answer, and reuse its connection for the next request."""
        now = self.elapsed
        self._alive_at = now
        self._tally.answered(
            connection.status,
            now - connection.since,
            connection.server_timing,
            connection.body,
            since=connection.since,
            delay=connection.sent - connection.since,
        )
        if connection.status == 200 and self._check:
            self._judge(connection, self._check)
        if connection.usable:
            self._next(connection)
        else:
            self._drop(connection)

    def lost(self, connection: Connection, reason: str) -> None:
        """Count a lost request, and open a new connection if more requests are due."""
        self._tally.lost[reason] += 1
        self._drop(connection)

    def closed(self, connection: Connection) -> None:
        """Remove an idle connection, and open a new one if more requests are due."""
        if connection in self._open:
            self._drop(connection)

    def _judge(self, connection: Connection, check: Check) -> None:
        if not check(connection.index, connection.body):
            self._tally.wrong(connection.index, connection.body)

    # Sending what is due.

    def _look(self, planned: float) -> None:
        """Send what is due now, and schedule the next call; it was `planned` for this time."""
        self._tally.looked(planned, self.elapsed)
        self._send_waiting()
        self._end_if_finished()
        arrival = self._schedule.next_arrival(self.elapsed)
        if arrival is None or self._done.is_set():
            return
        loop = asyncio.get_running_loop()
        now = self.elapsed
        ahead = arrival - now
        if ahead > 2 * TIMER:
            loop.call_later(ahead - TIMER, self._look, arrival - TIMER)
        else:  # spinning meets the time within microseconds, at the price of a busy core
            loop.call_soon(self._look, now)

    def _send_waiting(self) -> None:
        """Use idle connections first, then open new ones."""
        if self._done.is_set():
            return
        waiting = self._schedule.waiting(self.elapsed)
        while waiting and self._idle:
            connection = self._idle.pop()
            if connection.usable:
                self._send(connection)
                waiting -= 1
        room = self._limit - len(self._open) - len(self._opening)
        for _ in range(int(min(waiting - len(self._opening), room))):
            task = self._tasks.create_task(self._connect())
            self._opening.add(task)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                _, connection = await loop.create_connection(
                    lambda: Connection(self), self._target.host, self._target.port
                )
        except OSError:  # includes TimeoutError
            self._tally.refused_connections += 1
            await asyncio.sleep(RETRY_AFTER)
            self._opened()
            self._send_waiting()
        else:
            self._alive_at = self.elapsed
            self._tally.connections += 1
            self._opened()
            self._open.add(connection)
            self._next(connection)

    def _opened(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._opening.discard(task)

    def _next(self, connection: Connection) -> None:
        if self._schedule.waiting(self.elapsed):
            self._send(connection)
        else:
            self._idle.append(connection)
            self._end_if_finished()

    def _send(self, connection: Connection) -> None:
        connection.index = self._tally.sent % len(self._messages)
        connection.sent = self.elapsed
        connection.since = self._schedule.take(connection.sent)
        self._tally.sent += 1
        connection.send(self._messages[connection.index])

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        self._send_waiting()
        self._end_if_finished()

    # The end.

    def _end_if_finished(self) -> None:
        if not self.in_flight and self._schedule.finished(self.elapsed):
            self._done.set()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = self.elapsed
            self._time_out(now - self._timeout)
            if now - self._alive_at > GONE_AFTER and not self._open:
                self._tally.gone = True
                self._tally.unsent += self._schedule.close()
            self._end_if_finished()

    def _time_out(self, before: float) -> None:
        self._tally.unsent += self._schedule.give_up(before)
        for connection in [each for each in self._open if each.busy and each.sent < before]:
            connection.abort()
            self.lost(connection, "no answer in time")
