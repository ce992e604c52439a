"""The model repository of the Open Inference Protocol: index, load, unload, roll back."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any, ClassVar

from server.batching import Draining
from server.dialects.interface import Headers
from server.errors import InvalidJSON, InvalidRequest
from server.handlers.base import BaseHandler
from server.http.auth import REPOSITORY, ApiKeys
from server.logs.format import of_request
from server.serving.service import ServiceState
from server.serving.slot import ModelState

log = logging.getLogger(__name__)


class RepositoryHandler(BaseHandler):
    """The base of the repository's handlers: check the key, read an optional body."""

    METHODS: ClassVar[tuple[str, ...]] = ("POST",)

    @classmethod
    def check_head(cls, method: str, headers: Headers, keys: ApiKeys) -> None:
        """Raise MethodNotAllowed, Forbidden, Unauthorized, NotForThisKey."""
        super().check_head(method, headers, keys)
        if method == "POST":
            cls.check_key(keys, headers)

    @classmethod
    def check_key(cls, keys: ApiKeys, headers: Headers) -> str:
        """Return the name of the key; raises Forbidden, Unauthorized, NotForThisKey."""
        return keys.check_change(headers)

    def check_change(self) -> None:
        """Log who changes a model; raises Draining, Forbidden, Unauthorized, NotForThisKey."""
        if self.service.state is ServiceState.DRAINING:
            raise Draining
        name = self.check_key(self.keys, self.request.headers) or "(unnamed)"
        extra = of_request(self.request_id)
        log.info("%.200s with the API key %s", self.request.path, name, extra=extra)

    def take_object(self) -> dict[str, Any]:
        """Return the body's JSON object, or an empty one if there is no body.

        Raises InvalidJSON, InvalidRequest.
        """
        body = self.take_body()
        try:
            document = json.loads(body or b"{}")
        except (ValueError, RecursionError) as error:
            raise InvalidJSON("The body is not valid JSON.") from error
        if not isinstance(document, dict):
            raise InvalidRequest("The body must be a JSON object.")
        return document

    def take_parameters(self) -> dict[str, Any]:
        """Return `parameters` of the body; raises InvalidJSON, InvalidRequest.

        As everywhere in the protocol, null is the same as nothing.
        """
        parameters = none_as(self.take_object().get("parameters"), {})
        if not isinstance(parameters, dict):
            raise InvalidRequest('"parameters" must be a JSON object.')
        return parameters

    def send_empty_object(self) -> None:
        """Answer 200 with an empty object, as V2 does after a change."""
        self.set_status(HTTPStatus.OK)
        self.set_header("Content-Type", "application/json")
        self.finish(b"{}")


class RepositoryIndexHandler(RepositoryHandler):
    """Index: every version of every model, and its state."""

    METHODS = ("GET", "HEAD", "POST")

    @classmethod
    def check_key(cls, keys: ApiKeys, headers: Headers) -> str:
        """Return the name of the key; raises Unauthorized, NotForThisKey."""
        return keys.check(headers, REPOSITORY)

    def get(self) -> None:
        """Send an entry for each version, as to a POST without a body."""
        self.check_key(self.keys, self.request.headers)
        self._send_index(only_ready=False)

    def post(self) -> None:
        """Send an entry for each version; with `"ready": true`, only for ready ones."""
        self.check_key(self.keys, self.request.headers)
        only_ready = none_as(self.take_object().get("ready"), False)
        if not isinstance(only_ready, bool):
            raise InvalidRequest('"ready" must be true or false.')
        self._send_index(only_ready=only_ready)

    def _send_index(self, *, only_ready: bool) -> None:
        index = [
            {
                "name": each.name,
                "version": each.version,
                "state": each.state.value,
                "reason": each.reason,
            }
            for each in self.service.repository.index()
            if each.state is ModelState.READY or not only_ready
        ]
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(index))


class LoadHandler(RepositoryHandler):
    """Loads new versions of a model, or rolls it back."""

    async def post(self, name: str) -> None:
        """Answer as soon as the other version is served."""
        self.check_change()
        parameters = self.take_parameters()
        roll_back = none_as(parameters.pop("rollback", None), False)
        if parameters:
            raise InvalidRequest('Unknown parameter; only "rollback" is supported.')
        if not isinstance(roll_back, bool):
            raise InvalidRequest('The parameter "rollback" must be true or false.')
        repository = self.service.repository
        await (repository.roll_back(name) if roll_back else repository.load(name))
        self.send_empty_object()


class UnloadHandler(RepositoryHandler):
    """Unloads a model."""

    async def post(self, name: str) -> None:
        """Answer as soon as the model gets no new requests."""
        self.check_change()
        parameters = self.take_parameters()
        if parameters.keys() - {"unload_dependents"}:
            raise InvalidRequest('Unknown parameter; only "unload_dependents" is supported.')
        await self.service.repository.unload(name)
        self.send_empty_object()


def none_as(value: Any, default: Any) -> Any:
    """Return a value of a body, or `default` in place of null."""
    return default if value is None else value
