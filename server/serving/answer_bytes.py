"""The memory of answers, from the admission of their requests until their clients have read them.

Without a limit, clients that read slowly could fill the memory with their answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from server.batching import TooManyRows
from server.errors import UnreadAnswers

REASON: Final = "unread_answers"
HEAD_BYTES: Final = 1024  # more than the headers of an answer have


class AnswerBytes:
    """How many bytes are reserved for answers, and how many may be.

    Args:
        limit: the most bytes.
        count: counts a rejection by its reason.

    Attributes:
        used: the bytes that are reserved now.
    """

    def __init__(self, limit: int, count: Callable[[str], None]) -> None:
        self.used = 0
        self._limit = limit
        self._count = count

    def check_room(self) -> None:
        """Raise what `reserve` would raise for the smallest answer."""
        self._check(HEAD_BYTES)

    def reserve(self, body: int) -> Reserved:
        """Reserve memory for an answer with a body of so many bytes.

        Raises UnreadAnswers while too much is reserved, TooManyRows for an answer over the limit.
        """
        size = body + HEAD_BYTES
        if self.used + size > self._limit:
            self._check(size)
        self.used += size
        return Reserved(self, size)

    def resize(self, old: int, new: int) -> None:
        """Replace a reserved size by another one; raises what `reserve` raises."""
        if new > old:
            self._check(new, besides=self.used - old)
        self.used += new - old

    def release(self, size: int) -> None:
        self.used -= size

    def _check(self, size: int, besides: int | None = None) -> None:
        if size > self._limit:
            self._count("too_large")
            raise TooManyRows(
                f"The answer could have {size} bytes, and all answers together may have "
                f"{self._limit} (http.answer_bytes)."
            )
        if (self.used if besides is None else besides) + size > self._limit:
            self._count(REASON)
            raise UnreadAnswers(
                f"Answers of {self._limit} bytes (http.answer_bytes) are being computed or wait "
                "for their readers."
            )


class Reserved:
    """Memory that is reserved for one answer."""

    __slots__ = ("_owner", "size")

    def __init__(self, owner: AnswerBytes, size: int) -> None:
        self._owner = owner
        self.size = size

    def correct(self, body: int) -> None:
        """Reserve what the body really has; raises what `AnswerBytes.reserve` raises."""
        size = body + HEAD_BYTES
        self._owner.resize(self.size, size)
        self.size = size

    def release(self) -> None:
        """Give the memory back; once is enough."""
        self._owner.release(self.size)
        self.size = 0
