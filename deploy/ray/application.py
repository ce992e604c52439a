"""The service on Ray Serve: batcher and model process in every replica; see docs/ray.md.

    serve run deploy.ray.application:build model.path=/models/my_model.keras

Run it in the folder of the checkout, which every node needs, or with the checkout in PYTHONPATH.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application

from server.asgi import AsgiService
from server.config import Settings, load_settings
from server.serving.service import ServiceState

USUAL_ROWS = 64  # of a batch, where `batching.max_rows` is measured in the replica
BATCHES = 2  # one is computed while the next one fills


@serve.deployment(name="keras-batch-server")
@serve.ingress()
class KerasBatchServer:
    """One replica. No `@serve.batch`: the service forms batches when its model is idle."""

    def __init__(self, flags: list[str]) -> None:
        self._service = AsgiService(settings_of(flags))

    def __serve_build_asgi_app__(self) -> AsgiService:
        """Return what Ray Serve passes requests to, and starts and stops."""
        return self._service

    async def check_health(self) -> None:
        """Raise RuntimeError while predictions fail; Ray replaces the replica after three times."""
        service = self._service.service
        if service is not None and service.condition != ServiceState.READY.value:
            raise RuntimeError(service.condition)


def build(args: dict[str, Any]) -> Application:
    """Return the application; `args` are settings by the names of their flags.

    Raises ConfigError.
    """
    flags = [word for name, value in args.items() for word in (f"--{name}", str(value))]
    settings = settings_of(flags)
    ongoing = BATCHES * rows_of(settings)
    options = KerasBatchServer.options(
        max_ongoing_requests=ongoing,
        graceful_shutdown_timeout_s=settings.http.drain_timeout_s + 5,
    )
    return options.bind(flags)


def settings_of(flags: list[str]) -> Settings:
    """Return the settings: of the flags, the environment, and config.yaml; raises ConfigError."""
    return load_settings(flags, os.environ, Path.cwd())


def rows_of(settings: Settings) -> int:
    """Return how many rows a batch has, as far as that is known here."""
    rows = settings.batching.max_rows
    return rows if isinstance(rows, int) else USUAL_ROWS
