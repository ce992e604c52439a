"""Requests with numbers or picture files."""

from __future__ import annotations

from typing import Any, cast

import pytest

from server.dialects.interface import DecodedRequest
from server.dialects.pictures.either import BYTES, Either
from server.dialects.pictures.reader import Pictures

HEAD = b'{"inputs":[]}'


class Takes:
    """A decoder that says which one it is."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __call__(self, body: bytes, *more: Any) -> DecodedRequest:
        del body, more
        return cast(DecodedRequest, self._what)


class NoPictures:
    """Returns requests as they are."""

    def decoded(self, request: DecodedRequest) -> DecodedRequest:
        return request


@pytest.mark.parametrize("found", [BYTES, b"\\u"])
def test_only_the_json_is_searched_for_files_not_the_arrays_after_it(found: bytes) -> None:
    either = Either(cast(Pictures, NoPictures()), BYTES, Takes("numbers"), Takes("files"))
    body = HEAD + found

    assert cast(str, either.decode(body, length=len(HEAD))) == "numbers"
    assert cast(str, either.decode(body)) == "files"
    assert not either.may_hold_files(body, len(HEAD))
    assert either.may_hold_files(body)
