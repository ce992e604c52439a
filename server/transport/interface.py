"""The interface of the transports, and the limits that both share."""

from __future__ import annotations

import re
import socket
from typing import Final, Protocol

from server.dialects.interface import Headers
from server.http.message import Request, Response

MAX_DISCARDED_BYTES: Final = 64 * 2**20
MAX_TURNED_AWAY: Final = 128
SWEEP_SECONDS: Final = 0.5
LINGER_SECONDS: Final = 1.0
BACKLOG: Final = 1024

_URL: Final = re.compile(r"(?i:https?)://([\w.\-\[\]:]+)((?:[/?].*)?)", re.ASCII)


class Endpoint(Protocol):
    """Answers the requests of one method and path; cancel a call whose client has left."""

    async def __call__(self, request: Request) -> Response:
        """Answer a request; await futures alone, as there need not be a task."""


class EndpointLookup(Protocol):
    """Finds the endpoint of a method and path."""

    def get(self, route: tuple[str, str], /) -> Endpoint | None:
        """Return it, or None for what Tornado's handlers answer."""

    def refuse(self, route: tuple[str, str], error: Exception, headers: Headers, /) -> Response:
        """Answer a request that gets to neither, with an error."""


class Transport(Protocol):
    """An HTTP server: from bytes on sockets to endpoints, and back."""

    async def listen(self, sockets: list[socket.socket]) -> None:
        """Accept connections on sockets that are bound and listen."""

    def close_after_answers(self) -> None:
        """Answer every request from now on with `Connection: close`."""

    def stop(self) -> None:
        """Stop listening, once what the system has accepted for us is ours."""

    async def close_all_connections(self) -> None:
        """Close what is open."""


def origin_form(target: str) -> tuple[str, str | None]:
    """Return the path and query of a target, and the host where it names one.

    A server must take whole URLs, and the host in one is the one that counts (RFC 9112, section
    3.2.2). Targets of other forms are left as they are: they lead nowhere.
    """
    url = _URL.fullmatch(target)
    if not url:
        return target, None
    host, rest = url.groups()
    return (rest if rest.startswith("/") else f"/{rest}"), host
