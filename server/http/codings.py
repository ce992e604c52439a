"""Content codings (RFC 9110, section 8.4.1): bodies compressed by gzip, deflate or zstd."""

from __future__ import annotations

import asyncio
import gzip
import re
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from backports import zstd

from server.config import HttpSettings
from server.dialects.interface import Headers
from server.dialects.json_body import CODINGS, coding_of
from server.errors import BodyTooLarge, InvalidRequest
from server.http.message import Request, Response

AT_ONCE: Final = 2  # large bodies in threads, or back from there and not used yet
INLINE_BYTES: Final = 64 * 1024  # larger bodies are decompressed in a thread
MAX_MEMBERS: Final = 16  # of a body; finding the next one copies the rest
WORTH_IT: Final = 0.9  # of its size, at most, must be left of a body
FAST: Final = 1  # level: from one to the default level, time doubles and 5 to 10 % are saved
WINDOW_LOG: Final = 23  # 8 MiB, the most that zstd may need in HTTP (RFC 9659)

_GZIP: Final = 16 + zlib.MAX_WBITS
_WEIGHT: Final = re.compile(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*")
_TEXT: Final = re.compile(r"text/|application/(?:[\w.+-]+\+)?json|application/openmetrics-text")


class Member(Protocol):
    """Decompresses a part of a body: a member of gzip, a frame of zstd."""

    @property
    def eof(self) -> bool:
        """Whether its end has come."""

    @property
    def unused_data(self) -> bytes:
        """What comes behind its end."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most so many bytes."""


# Takes a coding, a body and the most bytes that it may have.
Decompress = Callable[[str, bytes, int], bytes]


class Codings:
    """Decompresses requests and compresses answers, large ones in threads.

    Attributes:
        least: the size in bytes from which on answers are compressed.
    """

    def __init__(self, settings: HttpSettings, decompress: Decompress | None = None) -> None:
        self._decompress = decompress or decompressed
        self.least = settings.compress_min_bytes or sys.maxsize
        self._most = settings.max_body_bytes
        self._decoding = asyncio.Semaphore(AT_ONCE)
        self._encoding = asyncio.Semaphore(AT_ONCE)

    async def decoded(self, request: Request) -> Request:
        """Return a request with its body decompressed.

        Raises BodyTooLarge as soon as it has more than `http.max_body_bytes`, InvalidRequest.
        The next large one waits until the caller of this one goes on, which has it in memory.
        """
        coding = coding_of(request.headers)
        if not coding or not request.body:
            return request
        inline = min(self._most, INLINE_BYTES)
        if len(request.body) <= inline or inline == self._most:
            try:
                return request._replace(body=self._decompress(coding, request.body, inline))
            except BodyTooLarge:
                if inline == self._most:
                    raise
        loop = asyncio.get_running_loop()
        async with self._decoding:
            body = await loop.run_in_executor(
                None, self._decompress, coding, request.body, self._most
            )
        return request._replace(body=body)

    async def encoded(self, response: Response, headers: Headers) -> Response:
        """Return a response as its client takes it: compressed where that is worth it."""
        if not is_text(response.headers.get("Content-Type", "")):
            return response
        vary = {"Vary": "Accept-Encoding"}
        response = response._replace(headers={**response.headers, **vary})
        coding = preferred(headers.get("accept-encoding", ""))
        if not coding:
            return response
        loop = asyncio.get_running_loop()
        async with self._encoding:
            body = await loop.run_in_executor(None, COMPRESS[coding], response.body)
        if len(body) > WORTH_IT * len(response.body):
            return response
        if response.reserved is not None:
            response.reserved.correct(len(body))
        return response._replace(
            headers={**response.headers, "Content-Encoding": coding}, body=body
        )


def is_text(content_type: str) -> bool:
    """Return whether bodies of a type become much smaller; tensors in bytes do not."""
    return _TEXT.match(content_type) is not None


def preferred(accept_encoding: str, offered: Sequence[str] = CODINGS) -> str:
    """Return the coding that a client likes most, by its Accept-Encoding; empty: none.

    Of those that it likes equally the first one that is offered is chosen (RFC 9110, section
    12.5.3).
    """
    if not accept_encoding:
        return ""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, parameters = part.partition(";")
        weight = _WEIGHT.fullmatch(parameters)
        if parameters and not weight:
            continue
        weights[coding.strip().removeprefix("x-")] = float(weight[1]) if weight else 1.0
    best = max(offered, key=lambda coding: weights.get(coding, 0.0))
    is_liked = weights.get(best, 0.0) > 0 and weights[best] >= weights.get("identity", 0.0)
    return best if is_liked else ""


def decompressed(coding: str, body: bytes, most: int) -> bytes:
    """Return what a body was before it was compressed.

    Raises BodyTooLarge as soon as that has more than `most` bytes, InvalidRequest for a body that
    is no such data, or ends too early.
    """
    parts: list[bytes] = []
    left = most
    make = _DECOMPRESSORS[coding]
    try:
        for _ in range(MAX_MEMBERS):
            member = make(body)
            parts.append(member.decompress(body, left + 1))
            left -= len(parts[-1])
            if left < 0:
                raise BodyTooLarge(f"The body is larger than {most} bytes when decompressed.")
            if not member.eof:
                raise InvalidRequest(f"The body ends before its {coding} data does.")
            body = member.unused_data
            if not body:
                return parts[0] if len(parts) == 1 else b"".join(parts)
    except (zlib.error, zstd.ZstdError) as error:
        raise InvalidRequest(f"The body is not valid {coding}: {error}") from None
    raise InvalidRequest(f"The body has more than {MAX_MEMBERS} parts in {coding}.")


def _zstd(_: bytes) -> Member:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})


def _deflate(body: bytes) -> Member:
    """Return what reads deflate: zlib's format, or without its frame, as some clients send it."""
    is_zlib = body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


_DECOMPRESSORS: Final[Mapping[str, Callable[[bytes], Member]]] = {
    "zstd": _zstd,
    "gzip": lambda _: zlib.decompressobj(_GZIP),
    "deflate": _deflate,
}

COMPRESS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "zstd": lambda body: zstd.compress(body, FAST),
    "gzip": lambda body: gzip.compress(body, FAST, mtime=0),
    "deflate": lambda body: zlib.compress(body, FAST),
}
