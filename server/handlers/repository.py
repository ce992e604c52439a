"""The model repository of the Open Inference Protocol: what there is, load, unload, roll back."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from server.batching import Draining
from server.errors import InvalidJSON, InvalidRequest
from server.handlers.base import BaseHandler
from server.http.auth import REPOSITORY
from server.logs.format import of_request
from server.serving.service import ServiceState
from server.serving.slot import ModelState

log = logging.getLogger(__name__)


class RepositoryHandler(BaseHandler):
    """What the calls of the repository share: who may, and a body that may be missing."""

    METHODS = ("POST",)

    def check_change(self) -> None:
        """Raise Draining, Forbidden, Unauthorized or NotForThisKey where nothing can be changed."""
        if self.service.state is ServiceState.DRAINING:
            raise Draining
        name = self.keys.check_change(self.request.headers) or "without a name"
        extra = of_request(self.request_id)
        log.info("%.200s, by the key %s", self.request.path, name, extra=extra)

    def take_object(self) -> dict[str, Any]:
        """Return the body's JSON object, an empty one where there is no body.

        Raises InvalidJSON, InvalidRequest.
        """
        body = self.take_body()
        try:
            document = json.loads(body or b"{}")
        except (ValueError, RecursionError) as error:
            raise InvalidJSON("The body is not valid JSON.") from error
        if not isinstance(document, dict):
            raise InvalidRequest("The body must be an object.")
        return document

    def take_parameters(self) -> dict[str, Any]:
        """Return what stands under `parameters` in the body; raises InvalidRequest."""
        parameters = self.take_object().get("parameters", {})
        if not isinstance(parameters, dict):
            raise InvalidRequest("The parameters must be an object.")
        return parameters

    def send_nothing(self) -> None:
        """Answer that it is done."""
        self.set_status(HTTPStatus.OK)
        self.set_header("Content-Type", "application/json")
        self.finish(b"{}")


class IndexOfModelsHandler(RepositoryHandler):
    """What there is, and in which state."""

    def post(self) -> None:
        """Show it: a line for each version, with `ready` only for those that answer."""
        self.keys.check(self.request.headers, REPOSITORY)
        only_ready = self.take_object().get("ready", False)
        if not isinstance(only_ready, bool):
            raise InvalidRequest("ready must be true or false.")
        index = [
            {"name": name, "version": version, "state": state.value, "reason": reason}
            for name, version, state, reason in self.service.repository.index()
            if state is ModelState.READY or not only_ready
        ]
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(index))


class LoadHandler(RepositoryHandler):
    """Loads what is new of a model, or rolls it back."""

    async def post(self, name: str) -> None:
        """Answer when the other version is served."""
        self.check_change()
        parameters = self.take_parameters()
        roll_back = parameters.pop("rollback", False)
        if parameters:
            raise InvalidRequest("Of the parameters of a load only rollback is known here.")
        if not isinstance(roll_back, bool):
            raise InvalidRequest("The parameter rollback must be true or false.")
        repository = self.service.repository
        await (repository.roll_back(name) if roll_back else repository.load(name))
        self.send_nothing()


class UnloadHandler(RepositoryHandler):
    """Serves a model no longer."""

    async def post(self, name: str) -> None:
        """Answer when no new request gets to it."""
        self.check_change()
        parameters = self.take_parameters()
        if parameters.keys() - {"unload_dependents"}:
            raise InvalidRequest("Of the parameters of an unload only unload_dependents is known.")
        await self.service.repository.unload(name)
        self.send_nothing()
