"""Metrics, and the live page's feed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tornado.iostream import StreamClosedError

from server.handlers.base import BaseHandler
from server.http.auth import METRICS


class MetricsHandler(BaseHandler):
    """What was counted."""

    def get(self) -> None:
        """Show it, in the format that is asked for."""
        self.keys.check(self.request.headers, METRICS)
        text, media_type = self.parts.metrics.text(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", media_type)
        self.add_header("Vary", "Accept")
        self.finish(text)


class EventsHandler(BaseHandler):
    """How the service fares, once a second, as server-sent events."""

    following: asyncio.Task[None] | None = None

    async def get(self) -> None:
        """Tell the last five minutes, and go on until either side ends."""
        self.keys.check(self.request.headers, METRICS)
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # nginx would collect the events
        if self.request.method == "HEAD":
            return
        self.following = asyncio.ensure_future(self.parts.live_page.follow(self._tell))
        with suppress(asyncio.CancelledError, StreamClosedError):
            await self.following

    def on_connection_close(self) -> None:
        """Stop telling a client that has left."""
        super().on_connection_close()
        if self.following:
            self.following.cancel()

    async def _tell(self, message: bytes) -> None:
        self.write(message)
        await self.flush()
