"""Requests and responses, whatever carried the bytes: ids, common headers, errors."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import count
from typing import Final, NamedTuple

from server.dialects.interface import Headers
from server.dialects.table import NATIVE, Kind
from server.http.cors import Cors

CLIENT_LEFT: Final = 499


# What every answer says, beside what a Response holds. No page of another origin shows, embeds or
# interprets an answer; our own pages say themselves what they may load.
COMMON_HEADERS: Final = {
    "Server": "keras-batch-server",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


COMMON_FIELDS: Final = "".join(f"{name}: {value}\r\n" for name, value in COMMON_HEADERS.items())


_PROCESS_ID: Final = os.urandom(8).hex()  # no other process makes the same request ids


_NUMBERS: Final = count()


_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Request(NamedTuple):
    """What an endpoint sees of a request."""

    id: str
    headers: Headers
    body: bytes


class Response(NamedTuple):
    """What an endpoint answers; the length and COMMON_HEADERS are the transport's to add."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request_id(headers: Headers) -> str:
    """Return the client's X-Request-ID where it is a sound one, else a new one."""
    given = headers.get("x-request-id", "")
    if given and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_PROCESS_ID}{next(_NUMBERS):016x}"


def problem(error: Exception, id_: str, kind: Kind = NATIVE) -> Response:
    """Answer an error in the form of a dialect."""
    status, body, headers = kind.refuse(error, id_)
    return Response(status, {**headers, "X-Request-ID": id_}, body)


def with_cors(response: Response, cors: Cors, request: Headers) -> Response:
    """Return an answer that says which origins may read it."""
    return response._replace(headers={**response.headers, **cors.headers(request)})
