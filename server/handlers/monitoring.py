"""Metrics, and the live page's feed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from tornado.iostream import StreamClosedError

from server.handlers.base import BaseHandler
from server.http.auth import METRICS
from server.monitoring.live_page import LivePage
from server.monitoring.metrics import Metrics


class MetricsHandler(BaseHandler):
    """What was counted."""

    def initialize(self, metrics: Metrics, **parts: Any) -> None:  # type: ignore[override]  # each handler takes its own parts
        """Take the metrics."""
        super().initialize(**parts)
        self.metrics = metrics

    def get(self) -> None:
        """Show it, in the format that is asked for."""
        self.keys.check(self.request.headers, METRICS)
        text, media_type = self.metrics.text(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", media_type)
        self.add_header("Vary", "Accept")
        self.finish(text)


class EventsHandler(BaseHandler):
    """How the service fares, once a second, as server-sent events."""

    def initialize(self, live_page: LivePage, **parts: Any) -> None:  # type: ignore[override]  # each handler takes its own parts
        """Take what tells."""
        super().initialize(**parts)
        self.live_page = live_page
        self.following: asyncio.Task[None] | None = None

    async def get(self) -> None:
        """Tell the last five minutes, and go on until either side ends."""
        self.keys.check(self.request.headers, METRICS)
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # nginx would collect the events
        if self.request.method == "HEAD":
            return
        self.following = asyncio.ensure_future(self.live_page.follow(self._tell))
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
