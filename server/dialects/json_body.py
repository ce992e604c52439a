"""What the dialects in JSON share: reading bodies, and plain errors."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

import orjson

from server.dialects.interface import DecodedRequest, EncodedError, Headers
from server.dialects.not_json import Advice, explain
from server.errors import InvalidData, InvalidJSON, UnsupportedMediaType
from server.problems import detail_of, headers_of, problem_of

CODINGS: Final = ("zstd", "gzip", "deflate")  # the first one is the best for answers
LARGE_BODY: Final = 4096  # bytes; larger bodies are decoded with the garbage collector paused


def coding_of(headers: Headers) -> str:
    """Return how a body is compressed, one of CODINGS; an empty string if it is not.

    Raises UnsupportedMediaType for any other coding, and for several.
    """
    given = headers.get("content-encoding", "")
    if not given:
        return ""
    given = given.strip().lower()
    coding = given.removeprefix("x-")  # RFC 9110, section 8.4.1.3
    if coding in ("", "identity"):
        return ""
    if coding not in CODINGS:
        known = ", ".join(CODINGS)
        raise UnsupportedMediaType(
            f"Send the body uncompressed or in one of {known}, not in {given[:80]}."
        )
    return coding


def parse(body: bytes | memoryview, advice: Advice) -> Any:
    """Read JSON (RFC 8259); raises InvalidJSON, with advice on what to send instead."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidJSON(explain(body, error, advice)) from None


def decode_large(decode: Callable[..., DecodedRequest], body: bytes, *args: Any) -> DecodedRequest:
    """Call `decode` for a body with many lists, with the garbage collector paused.

    The lists of an invalid body are released at once.
    """
    with gc_paused():
        try:
            return decode(body, *args)
        except InvalidData as error:
            error.__context__ = None  # it and the traceback hold the lists
            raise error.with_traceback(None) from None


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector, which would look again and again at lists as they are made.

    Nothing that it would find becomes garbage meanwhile.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def format_of(names: Sequence[str]) -> bytes:
    """Return a bytes format of a JSON object with these names; of the bare value if it is one."""
    keys = [orjson.dumps(name).replace(b"%", b"%%") for name in names]
    return b"%b" if len(keys) == 1 else b"{%b}" % b",".join([key + b":%b" for key in keys])


def plain_status(status: HTTPStatus) -> int:
    """Return the status code in dialects that answer 400, not 422, for invalid data."""
    return 400 if status == HTTPStatus.UNPROCESSABLE_ENTITY else status.value


def encode_plain_error(error: Exception) -> EncodedError:
    """Return an error as `{"error": …}`, with 400 for invalid data."""
    status = plain_status(problem_of(error).status)
    text = detail_of(error)
    if isinstance(error, InvalidData) and error.violations:
        first = error.violations[0]
        text = f"{text}: {first.pointer or 'the body'}: {first.detail}"
    headers = {"Content-Type": "application/json", **headers_of(error)}
    return EncodedError(status, orjson.dumps({"error": text}), headers)
