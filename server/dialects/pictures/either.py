"""Requests that have either numbers or picture files, in a dialect that can write both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from server.dialects.interface import DecodedRequest
from server.dialects.pictures.reader import Pictures
from server.errors import InvalidData, InvalidRequest, UnsupportedMediaType

Decode = Callable[..., DecodedRequest]  # called with the body, and perhaps more

B64: Final = b"b64"  # the key of files in JSON
BYTES: Final = b"BYTES"  # their datatype in V2
_INVALID: Final = (InvalidData, InvalidRequest)
_ESCAPE: Final = b"\\u"  # JSON may write any letter so


class Either:
    """Decodes requests of one dialect for a model that takes pictures, or that might.

    `numbers` decodes requests as the signature says, `files` those for `Pictures.as_files`. Every
    request with files has `mark` in its JSON.
    """

    def __init__(self, pictures: Pictures, mark: bytes, numbers: Decode, files: Decode) -> None:
        self._pictures = pictures
        self._mark = mark
        self._numbers = numbers
        self._files = files

    def may_hold_files(self, body: bytes, length: int | None = None) -> bool:
        """Return whether a request may have pictures that the model takes.

        Its JSON is the first `length` bytes; None: all of the body.
        """
        return bool(self._pictures) and self._has_mark(body, length)

    def decode(self, body: bytes, *more: Any, length: int | None = None) -> DecodedRequest:
        """Read a request, whose JSON is the first `length` bytes; None: all of the body.

        `numbers` and `files` get `more`, too.

        Raises:
            UnsupportedMediaType: it has pictures, and the settings do not say how to read them.
            InvalidData: it is not what the model takes.
        """
        if not self._has_mark(body, length):
            return self._numbers(body, *more)
        if not self._pictures:
            return self._numbers_only(body, *more)
        try:
            request = self._files(body, *more)
        except _INVALID as error:
            try:
                return self._numbers(body, *more)
            except _INVALID:
                raise error from None
        return self._pictures.decoded(request)

    def _numbers_only(self, body: bytes, *more: Any) -> DecodedRequest:
        try:
            return self._numbers(body, *more)
        except _INVALID:
            if not self._is_for_files(body, *more):
                raise
        raise UnsupportedMediaType(self._pictures.setting)

    def _is_for_files(self, body: bytes, *more: Any) -> bool:
        try:
            self._files(body, *more)
        except _INVALID:
            return False
        return True

    def _has_mark(self, body: bytes, length: int | None) -> bool:
        # Not in the arrays after the JSON: long ones take longer to search than to read.
        return any(body.find(each, 0, length) >= 0 for each in (self._mark, _ESCAPE))
