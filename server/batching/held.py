"""Bytes that wait like those in the queue, while the rows in them are decoded elsewhere."""

from __future__ import annotations

from typing import Protocol


class HeldOwner(Protocol):
    """What held bytes need of their batcher."""

    holders: int
    held_bytes: int

    def note_settled(self) -> None: ...


class Held:
    """Bytes that a batcher counts as waiting until they are released.

    Attributes:
        nbytes: how many; 0 once they are released.
    """

    def __init__(self, owner: HeldOwner, nbytes: int) -> None:
        self.nbytes = nbytes
        self._owner: HeldOwner | None = owner
        owner.holders += 1
        owner.held_bytes += nbytes

    def release(self) -> None:
        """Count them no more; once is enough."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.holders -= 1
            owner.held_bytes -= self.nbytes
            self.nbytes = 0
            owner.note_settled()
