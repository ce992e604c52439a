"""A body while it arrives: its size, its memory, and whether it goes on."""

from __future__ import annotations

from server.config import HttpSettings
from server.http.arriving_bodies import ArrivingBody
from server.http.rejections import Reject, Rejections
from server.transport.interface import MAX_DISCARDED_BYTES
from server.transport.llhttp.body import Body, ChunkedBody, LengthBody
from server.transport.llhttp.head import Head
from server.transport.llhttp.inbox import Inbox


class Arriving:
    """A body of which a part is still to come, within the limits of the service."""

    __slots__ = ("_body", "_limits", "_rejections", "_share")

    def __init__(self, head: Head, limits: HttpSettings, rejections: Rejections) -> None:
        self._body: Body = ChunkedBody() if head.chunked else LengthBody(head.length)
        self._limits = limits
        self._rejections = rejections
        self._share = ArrivingBody(rejections.arriving)

    @property
    def is_complete(self) -> bool:
        return self._body.is_complete

    def feed(self, inbox: Inbox) -> bool:
        """Take what has arrived; return whether there is more of the body. Raises BadRequest."""
        inbox.use(self._body.feed(inbox.data, inbox.position))
        return bool(inbox.data) and not self._body.is_complete

    def rejection(self) -> Reject | None:
        """Return what rejects a body that is too large, or for which there is no memory."""
        size = self._body.size
        if size > self._limits.max_body_bytes:
            return self._rejections.body_too_large
        if not self._body.is_complete and not self._share.count(size):
            return self._rejections.too_many_bodies
        return None

    def take(self) -> bytes:
        """Return what has arrived, and count it no more."""
        self.release()
        return self._body.take()

    def discard(self) -> bool:
        """Throw away what has arrived; return whether it is too much to go on reading."""
        self.take()
        return self._body.size > MAX_DISCARDED_BYTES

    def release(self) -> None:
        """Count the body no more."""
        self._share.count(0)

    def goes_on(self) -> bool:
        """Return whether enough has arrived since the current time limit; it begins anew then."""
        return self._share.goes_on(self._body.size)
