"""What the server, its connections and the bridge to Tornado need of each other."""

from __future__ import annotations

import asyncio
from typing import Protocol

from tornado.web import Application

from server.config import HttpSettings
from server.http.activity import Activity, LogAccess
from server.http.message import Response
from server.http.outside import Outside
from server.http.rejections import Rejections
from server.transport.interface import EndpointLookup


class Host(Protocol):
    """What a connection needs of its server.

    Attributes:
        closes_after_answers: every response from now on has `Connection: close`.
    """

    rejections: Rejections

    application: Application
    endpoints: EndpointLookup
    activity: Activity
    limits: HttpSettings
    log_access: LogAccess
    outside: Outside
    loop: asyncio.AbstractEventLoop
    closes_after_answers: bool

    def admit(self, connection: Hosted) -> bool:
        """Count a new connection; return False if there are too many."""

    def add_rejected(self, connection: Hosted) -> bool:
        """Count a connection over the limit; return False if it must be closed unanswered."""

    def remove(self, connection: Hosted) -> None:
        """Stop counting a connection."""

    def to_bytes(self, response: Response, option: str, method: str = "POST") -> bytes:
        """Return a response as bytes; `option` is the Connection header line, or empty."""


class Hosted(Protocol):
    """What the server needs of a connection."""

    def is_timed_out(self, now: float) -> bool:
        """Return whether a time limit has passed; `now` is the loop's clock."""

    def time_out(self) -> None:
        """Close, because a time limit has passed; answer 408 if a request is incomplete."""

    def paused_socket(self) -> int | None:
        """Return the file descriptor while reading is paused, else None."""

    def close(self) -> None:
        """Close once all that was written is sent."""

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""


class Wire(Protocol):
    """What the bridge to Tornado needs of the connection.

    Attributes:
        remote_ip: the client's address.
        protocol: `http` or `https`.
    """

    remote_ip: str
    protocol: str

    def write(self, data: bytes) -> asyncio.Future[None]:
        """Send; the future is done when the write buffer has room."""

    def connection_option(self) -> str:
        """Return the Connection header line of the response, or an empty string."""

    def close_after_answer(self) -> None:
        """Close the connection after this response."""

    def end_request(self) -> None:
        """Go on with the next request, now that the response is written."""

    def reject_bytes(self) -> None:
        """Answer 400 and close."""

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""
