"""The interface of the transports, and the limits that both share."""

from __future__ import annotations

import re
import socket
from typing import Final, Protocol

from server.http.message import Request, Response

MAX_DISCARDED_BYTES: Final = 64 * 2**20
MAX_REJECTED: Final = 128
SWEEP_SECONDS: Final = 0.5
LINGER_SECONDS: Final = 1.0

_URL: Final = re.compile(r"(?i:https?)://([\w.\-\[\]:]+)((?:[/?].*)?)", re.ASCII)


class Endpoint(Protocol):
    """Answers the requests of one method and path; cancelled when the client disconnects."""

    async def __call__(self, request: Request) -> Response:
        """Answer a request. Must await futures only, because no task may be running."""


class EndpointLookup(Protocol):
    """Finds the endpoint of a method and path."""

    def get(self, route: tuple[str, str], /) -> Endpoint | None:
        """Return the endpoint, or None if a Tornado handler answers these requests."""


class Transport(Protocol):
    """An HTTP server: from bytes on sockets to endpoints, and back."""

    async def listen(self, sockets: list[socket.socket]) -> None:
        """Accept connections on sockets that are bound and listen."""

    def close_after_answers(self) -> None:
        """Answer every request from now on with `Connection: close`."""

    def stop(self) -> None:
        """Accept the connections that the kernel has completed, then stop listening."""

    async def close_all_connections(self) -> None:
        """Close every connection."""


def origin_form(target: str) -> tuple[str, str | None]:
    """Return the path and query of a target, and the host where it names one.

    A server must accept whole URLs, and their host replaces the Host header (RFC 9112, section
    3.2.2). Targets of other forms are returned unchanged; no route matches them.
    """
    url = _URL.fullmatch(target)
    if not url:
        return target, None
    host, rest = url.groups()
    return (rest if rest.startswith("/") else f"/{rest}"), host
