"""The service as an ASGI application: `uvicorn --factory server.asgi:application`.

Settings come from config.yaml in the current folder and from the environment. Logging, signals,
TLS and addresses are those of the ASGI server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from server.app import make_asgi
from server.config import Settings, load_settings
from server.http.activity import Activity
from server.logs.format import line_format_of
from server.logs.open import open_access_log, open_payload_log
from server.monitoring.live_page import LivePage, read
from server.serving.model_process import ModelProcess
from server.serving.process_start import COMMAND
from server.serving.service import Service
from server.serving.watch import Watch
from server.transport.asgi import AsgiRequests, Receive, Scope, Send

log = logging.getLogger(__name__)


def application() -> AsgiService:
    """Return the application with the settings of this process; raises ConfigError."""
    return AsgiService(load_settings([], os.environ, Path.cwd()))


class AsgiService:
    """Loads the models when the ASGI server starts, and drains when it shuts down.

    Args:
        command: starts a model process.

    Attributes:
        service: what is served, once it has started.
    """

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND) -> None:
        self.service: Service | None = None
        self._settings = settings
        self._command = command
        self._activity = Activity()
        self._requests: AsgiRequests | None = None
        self._watching: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the life of the ASGI server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            assert self._requests is not None, "the ASGI server has sent no lifespan.startup"
            await self._requests(scope, receive, send)
        else:  # no route has a WebSocket
            await send({"type": "websocket.close"})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except Exception as error:
            log.exception("the service does not start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def start(self) -> None:
        """Load the models; raises LoadFailed."""
        settings = self._settings
        self.service = service = Service(settings)
        live_page = LivePage(lambda: read(service))
        live_page.start()
        lock = threading.Lock()
        access = open_access_log(
            settings, line_format_of(settings.logging.format, sys.stderr, os.environ), lock
        )
        self._requests = make_asgi(
            service,
            self._activity,
            live_page,
            payload_log=open_payload_log(settings, lock),
            log_access=access.write if access else lambda _: None,
        )
        await service.start(self._start_process)
        if seconds := settings.model.poll_s:
            watch = Watch(service.repository)
            self._watching = asyncio.ensure_future(watch.run(seconds))

    async def stop(self) -> None:
        """Answer what was accepted, and end the model processes."""
        service = self.service
        if service is None:
            return
        if self._watching is not None:
            self._watching.cancel()
        service.stop_being_ready()
        try:
            async with asyncio.timeout(self._settings.http.drain_timeout_s):
                await self._activity.idle()
                await service.drain()
        except TimeoutError:
            log.error("not drained after %g s: giving up", self._settings.http.drain_timeout_s)
        await service.close()

    def _start_process(self, name: str) -> ModelProcess:
        return ModelProcess(name, self._settings.hang_timeout, self._command)
