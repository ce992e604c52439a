"""Liveness and readiness."""

from __future__ import annotations

from server.batching import Draining
from server.errors import Loading
from server.handlers.base import BaseHandler
from server.serving.service import ServiceState


class LivenessHandler(BaseHandler):
    """Liveness of the process."""

    def get(self) -> None:
        """Answer 200."""
        self.send_json({"live": True})


class ReadinessHandler(BaseHandler):
    """Readiness: whether predictions are possible."""

    def get(self) -> None:
        """Answer 200 with the state of every model, or 503 with the reason."""
        if self.service.state is ServiceState.DRAINING:
            raise Draining
        if self.service.state is ServiceState.LOADING:
            raise Loading
        for model in self.service.models:
            model.check_ready()
        models = [slot.describe() for slot in self.service.repository.slots.values()]
        default = models[0]
        self.send_json(
            {"ready": True, "model": default["name"], "version": default["version"]}
            | {"models": models}
        )
