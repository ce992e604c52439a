"""Requests and responses, independent of the transport: ids, common headers, errors."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import count
from typing import Final, NamedTuple, Protocol

from server.dialects.interface import Headers
from server.dialects.table import NATIVE, DialectEntry
from server.http.cors import Cors

CLIENT_LEFT: Final = 499
MAX_JOINED: Final = 64 * 2**10  # bytes of a body that are sent in one piece with its headers


# Both transports add these to the headers of every Response. Pages of other origins cannot embed a
# response. The pages of the service replace Content-Security-Policy with their own.
COMMON_HEADERS: Final = {
    "Server": "keras-batch-server",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


COMMON_FIELDS: Final = "".join(f"{name}: {value}\r\n" for name, value in COMMON_HEADERS.items())


_PROCESS_ID: Final = os.urandom(8).hex()  # makes request ids unique among processes


_NUMBERS: Final = count()


# What trace ids of proxies and clouds are made of, and nothing that a log line has to escape.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:=/+-]{1,128}")


class Request(NamedTuple):
    """A request for predictions, as an endpoint gets it.

    Attributes:
        client: the address of its client.
        query: that of its URL, without the question mark.
    """

    id: str
    headers: Headers
    body: bytes
    client: str = ""
    query: str = ""


class ReservedMemory(Protocol):
    """Memory that is reserved for a response."""

    def correct(self, body: int, /) -> None:
        """Reserve what its body really has."""

    def release(self) -> None:
        """Give it back; once is enough."""


class Response(NamedTuple):
    """A response; the transport adds Content-Length and COMMON_HEADERS.

    Attributes:
        reserved: the memory of the body, if it is counted; the transport releases it once the
            last byte is sent or the connection is closed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    reserved: ReservedMemory | None = None


def request_id(headers: Headers) -> str:
    """Return the client's X-Request-ID if it is valid, else a new one."""
    given = headers.get("x-request-id", "")
    if given and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_PROCESS_ID}{next(_NUMBERS):016x}"


def replaced_id(headers: Headers, id_: str) -> str:
    """Return the client's X-Request-ID if `id_` has replaced it, else an empty string."""
    given = headers.get("x-request-id", "")
    return "" if given == id_ else given


def problem(error: Exception, id_: str, entry: DialectEntry = NATIVE) -> Response:
    """Return the response for an error, in the format of a dialect."""
    status, body, headers = entry.encode_error(error, id_)
    return Response(status, {**headers, "X-Request-ID": id_}, body)


def with_cors(response: Response, cors: Cors, request: Headers) -> Response:
    """Return a response with the CORS headers for its request."""
    added = cors.headers(request)
    if "Vary" in response.headers and "Vary" in added:
        added = {**added, "Vary": f"{added['Vary']}, {response.headers['Vary']}"}
    return response._replace(headers={**response.headers, **added})
