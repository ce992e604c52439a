"""The memory of request bodies whose end has not arrived, over all connections.

Without a limit, clients that send slowly could fill the memory with parts of bodies.
"""

from __future__ import annotations

from typing import Final

from server.config import HttpSettings

MIN_BODY_RATE: Final = 4096  # bytes a second; a body that arrives more slowly gets 408


class ArrivingBodies:
    """How many bytes of incomplete bodies there are, and how many there may be.

    Attributes:
        used: the bytes that have arrived.
        steady_bytes: how many of a body are enough for `http.body_timeout_s`.
        limit: the most bytes. One body of the largest size always fits.
    """

    def __init__(self, limits: HttpSettings) -> None:
        self.used = 0
        self.steady_bytes = MIN_BODY_RATE * limits.body_timeout_s
        self.limit = max(limits.body_bytes, limits.max_body_bytes)

    def resize(self, old: int, new: int) -> bool:
        """Count `new` bytes of a body in place of `old`; return False if there is no memory."""
        if new > old and self.used - old + new > self.limit:
            return False
        self.used += new - old
        return True


class ArrivingBody:
    """One of them: what it counts for, and whether it goes on."""

    __slots__ = ("_all", "_before", "_counted")

    def __init__(self, bodies: ArrivingBodies) -> None:
        self._all = bodies
        self._counted = 0
        self._before = 0  # bytes, when the current time limit began

    def count(self, size: int) -> bool:
        """Count so many bytes of the body; return False if there is no memory for them."""
        if not self._all.resize(self._counted, size):
            return False
        self._counted = size
        return True

    def goes_on(self, received: int) -> bool:
        """Return whether enough has arrived since the time limit began; it begins anew then."""
        if received - self._before < self._all.steady_bytes:
            return False
        self._before = received
        return True
