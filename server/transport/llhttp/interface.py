"""What the server, its connections and the bridge to Tornado need of each other."""

from __future__ import annotations

import asyncio
from typing import Protocol

from tornado.web import Application

from server.config import HttpSettings
from server.http.activity import Activity, LogAccess
from server.http.message import Response
from server.transport.interface import EndpointLookup


class Host(Protocol):
    """What a connection needs of its server.

    Attributes:
        closes_after_answers: every answer from now on closes its connection.
    """

    application: Application
    endpoints: EndpointLookup
    activity: Activity
    limits: HttpSettings
    log_access: LogAccess
    loop: asyncio.AbstractEventLoop
    closes_after_answers: bool

    def admit(self, connection: Hosted) -> bool:
        """Count a new connection, unless there are too many."""

    def turns_away(self, connection: Hosted) -> bool:
        """Return whether a connection that is one too many gets an answer."""

    def forget(self, connection: Hosted) -> None:
        """Stop counting a connection."""

    def to_bytes(self, response: Response, option: str, method: str = "POST") -> bytes:
        """Return an endpoint's answer as a message; `option` is a header line or nothing."""


class Hosted(Protocol):
    """What the server needs of a connection."""

    def is_over(self, now: float) -> bool:
        """Return whether a time limit has passed; `now` is the loop's clock."""

    def unread_socket(self) -> int | None:
        """Return the socket while the event loop does not read from it, else None."""

    def close(self) -> None:
        """Close once all that was written is sent."""

    def cut(self) -> None:
        """Close now."""


class Wire(Protocol):
    """What an answer of Tornado needs of the connection that it is written to.

    Attributes:
        remote_ip: the client's address.
        protocol: `http` or `https`.
    """

    remote_ip: str
    protocol: str

    def write(self, data: bytes) -> asyncio.Future[None]:
        """Send; the future is done when there is room for more."""

    def connection_option(self) -> str:
        """Return the `Connection` field of the answer, or nothing."""

    def close_after_answer(self) -> None:
        """Close the connection behind this answer."""

    def end_request(self) -> None:
        """Go on with the next request: the answer is written."""

    def refuse_bytes(self) -> None:
        """Answer 400 and close."""

    def cut(self) -> None:
        """Close now."""
