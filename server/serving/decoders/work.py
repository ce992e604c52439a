"""A piece of work for the decoder processes, and the order in which they do it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Any, Protocol

from server.batching import DeadlineExceeded
from server.batching.deadlines import Bucket, Deadlines


class WorkOwner(Protocol):
    """What work needs of its pool."""

    lines: Lines

    @property
    def deadlines(self) -> Deadlines: ...

    def expired(self, work: Work) -> None: ...

    def cancelled(self, work: Work) -> None: ...


class Work(asyncio.Future[Any]):
    """A job that is expected, waits or is being done: await it for the result, or cancel it.

    Attributes:
        client: whose it is; clients take turns.
        job: its name.
        nbytes: about how many bytes it takes or makes.
        arguments: those of the job; None while it is only expected.
        is_taken: a process does it.
        attempts: how many processes have ended while they did it.
    """

    def __init__(self, owner: WorkOwner, client: str, job: str, nbytes: int) -> None:
        super().__init__()
        self.client = client
        self.job = job
        self.nbytes = nbytes
        self.arguments: Sequence[Any] | None = None
        self.is_taken = False
        self.attempts = 0
        self._owner = owner
        self._bucket: Bucket | None = None
        owner.lines.add(self)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel it: if no process does it yet, none will."""
        if not super().cancel(msg):
            return False
        was_submitted = self.arguments is not None
        self.leave()
        if was_submitted:
            self._owner.cancelled(self)
        return True

    def arm(self, deadline: float) -> None:
        """Fail with DeadlineExceeded at this time of the loop."""
        self._bucket = self._owner.deadlines.add(deadline, self)

    def expire(self) -> None:
        """Fail because the deadline has passed."""
        if not self.done():
            self.fail(DeadlineExceeded())
            self._owner.expired(self)

    def fail(self, error: Exception) -> None:
        """Settle with an error."""
        self.set_exception(error)
        self.leave()

    def succeed(self, result: Any) -> None:
        """Settle with a result."""
        self.set_result(result)
        self.leave()

    def leave(self) -> None:
        """Expect it no more; once is enough."""
        self._owner.lines.remove(self)
        self.arguments = None
        if self._bucket is not None:
            self._owner.deadlines.remove(self._bucket, self)
            self._bucket = None


class Lines:
    """All work that is not done: a line for each client. Clients take turns.

    So a client with many large bodies does not keep out those of others.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[str, dict[Work, None]] = OrderedDict()

    def add(self, work: Work) -> None:
        self._lines.setdefault(work.client, {})[work] = None

    def remove(self, work: Work) -> None:
        """Remove work, if it is there."""
        line = self._lines.get(work.client, {})
        line.pop(work, None)
        if not line:
            self._lines.pop(work.client, None)

    def take(self) -> Work | None:
        """Return the next work that can be done; it stays in its line until it is removed."""
        for client, line in self._lines.items():
            for work in line:
                if work.arguments is not None and not work.is_taken:
                    self._lines.move_to_end(client)
                    work.is_taken = True
                    return work
        return None

    def ahead(self, client: str) -> list[Work]:
        """Return the work that is done before new work of a client, as far as that is known."""
        turns = len(self._lines.get(client, ())) + 1
        found: list[Work] = []
        for name, line in self._lines.items():
            found += [work for work in line if work.is_taken]
            others = (work for work in line if not work.is_taken)
            found += others if name == client else islice(others, turns)
        return found

    def untaken(self) -> list[Work]:
        """Return the work that can be done, and that no process does."""
        works = (work for line in self._lines.values() for work in line)
        return [each for each in works if each.arguments is not None and not each.is_taken]
