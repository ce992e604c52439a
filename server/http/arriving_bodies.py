"""The memory of request bodies whose end has not arrived, over all connections.

Without a limit, clients that send slowly could fill the memory with parts of bodies.
"""

from __future__ import annotations

from server.config import HttpSettings


class ArrivingBodies:
    """How many bytes of incomplete bodies there are, and how many there may be.

    Attributes:
        used: the bytes that have arrived.
        limit: the most bytes. One body of the largest size always fits.
    """

    def __init__(self, limits: HttpSettings) -> None:
        self.used = 0
        self.limit = max(limits.body_bytes, limits.max_body_bytes)

    def resize(self, old: int, new: int) -> bool:
        """Count `new` bytes of a body in place of `old`; return False if there is no memory."""
        if new > old and self.used - old + new > self.limit:
            return False
        self.used += new - old
        return True
