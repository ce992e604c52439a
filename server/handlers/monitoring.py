"""Metrics, and the events behind the live page."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tornado.iostream import StreamClosedError

from server.handlers.base import BaseHandler
from server.http.auth import METRICS


class MetricsHandler(BaseHandler):
    """Metrics in Prometheus' text format or OpenMetrics."""

    def get(self) -> None:
        """Send the metrics in the format that the Accept header asks for."""
        self.keys.check(self.request.headers, METRICS)
        text, media_type = self.parts.metrics.text(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", media_type)
        self.add_header("Vary", "Accept")
        self.finish(text)


class EventsHandler(BaseHandler):
    """Live statistics as server-sent events, once a second."""

    following: asyncio.Task[None] | None = None

    async def get(self) -> None:
        """Send the last five minutes, then an event a second until either side disconnects."""
        self.keys.check(self.request.headers, METRICS)
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # else nginx buffers the events
        if self.request.method == "HEAD":
            return
        self.following = asyncio.ensure_future(self.parts.live_page.follow(self._send))
        with suppress(asyncio.CancelledError, StreamClosedError):
            await self.following

    def on_connection_close(self) -> None:
        """Stop sending: the client has disconnected."""
        super().on_connection_close()
        if self.following:
            self.following.cancel()

    async def _send(self, message: bytes) -> None:
        self.write(message)
        await self.flush()
