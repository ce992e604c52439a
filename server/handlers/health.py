"""Liveness and readiness."""

from __future__ import annotations

from server.batching import Draining, ModelStuck
from server.errors import (
    Loading,
)
from server.handlers.base import BaseHandler
from server.serving.service import ServiceState


class LivenessHandler(BaseHandler):
    """Whether the process is alive."""

    def get(self) -> None:
        """Say so, or answer 503: a model does not come back, and a new process is needed."""
        if self.service.stuck:
            raise ModelStuck(self.service.stuck)
        self.send_json({"live": True})


class ReadyHandler(BaseHandler):
    """Whether predictions can be asked for."""

    def get(self) -> None:
        """Say so, or answer 503."""
        if self.service.stuck:
            raise ModelStuck(self.service.stuck)
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
