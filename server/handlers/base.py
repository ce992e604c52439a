"""What all handlers share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Any, ClassVar

from tornado.concurrent import Future
from tornado.escape import json_encode
from tornado.web import HTTPError, RequestHandler, stream_request_body

from server.batching import BatchingError
from server.dialects.table import kind_of
from server.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    ServiceError,
    UnknownPath,
)
from server.handlers.parts import Parts
from server.http.activity import LogAccess
from server.http.message import COMMON_HEADERS, Response, problem, request_id
from server.logs import Access
from server.logs.format import of_request
from server.serving.service import ServiceState

log = logging.getLogger(__name__)


@stream_request_body  # without it Tornado parses forms, of any size, before a handler is asked
class BaseHandler(RequestHandler):
    """What all handlers share: the body, the request's id, problem documents, Allow."""

    METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD")

    def initialize(self, parts: Parts) -> None:
        """Take the parts, and count the request as in progress: its client may now disconnect."""
        self.began = time.perf_counter()  # Tornado takes the wall clock
        self.parts = parts
        self.service = parts.service
        self.keys = parts.keys
        parts.activity.begin(self)

    def prepare(self) -> None:
        """Go on with a request: its headers are there, its body is not."""
        self.chunks: list[bytes] = []
        self.add_cors_headers()

    @cached_property
    def request_id(self) -> str:
        """The client's id for this request, or ours."""
        return request_id(self.request.headers)

    def set_default_headers(self) -> None:
        """Replace Tornado's headers, which tell its version."""
        self.set_header("X-Request-ID", self.request_id)
        self._headers.update(COMMON_HEADERS)  # without the checks of those that come from outside

    def data_received(self, chunk: bytes) -> None:
        """Collect the body, whose size the server has limited."""
        self.chunks.append(chunk)

    def take_body(self) -> bytes:
        """Return the body, and forget it: a request may wait for long."""
        body, self.chunks = b"".join(self.chunks), []
        return body

    def head(self, **parameters: str) -> Any:
        """Answer as to GET; Tornado leaves the body out."""
        return self.get(**parameters)

    def options(self, **_: str) -> None:
        """Tell what is possible here."""
        self.set_header("Allow", ", ".join(self.allowed()))
        self._headers.update(self.parts.cors.preflight(self.request.headers, self.allowed()))
        self.set_status(HTTPStatus.NO_CONTENT)

    def allowed(self) -> list[str]:
        """Return the methods that this handler answers."""
        return [*self.METHODS, "OPTIONS"]

    def add_cors_headers(self) -> None:
        """Say which origins may read the answer."""
        self._headers.update(self.parts.cors.headers(self.request.headers))

    def respond(self, response: Response) -> None:
        """Send an endpoint's answer."""
        self.set_status(response.status)
        self.clear_header("Content-Type")
        for name, value in response.headers.items():
            self.set_header(name, value)
        self.finish(response.body)

    def send_json(self, document: Mapping[str, Any]) -> None:
        """Answer with a JSON document."""
        self.set_header("Content-Type", "application/json")
        self.finish(json_encode(document))

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        """Send the answer; the request ends with its last byte.

        Tornado tells a client that its connection will be closed only if it knew so before the
        request came; while draining a client must be told in any case.
        """
        if self.service.state is ServiceState.DRAINING:
            self.set_header("Connection", "close")
        sent = super().finish(chunk)
        sent.add_done_callback(self._sent)
        return sent

    def on_connection_close(self) -> None:
        """End a request whose client has left."""
        super().on_connection_close()
        self.parts.activity.end(self)

    def compute_etag(self) -> None:
        """Spend nothing on ETags: answers are not cached."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer in the form of the path's dialect, whatever went wrong."""
        error = kwargs.get("exc_info", (None, None))[1]
        situation = self._situation(status_code, error)
        self.add_cors_headers()  # Tornado has taken all headers away
        self.respond(problem(situation, self.request_id, kind_of(self.request.path)))

    def log_exception(self, _: Any, value: BaseException | None, __: Any) -> None:
        """Log mistakes of ours, and not those of clients."""
        if not isinstance(value, HTTPError | ServiceError | BatchingError):
            log.error("internal error", exc_info=value, extra=of_request(self.request_id))

    def _sent(self, sent: Future[None]) -> None:
        sent.exception()  # a client that has left is no error of ours
        self.parts.activity.end(self)

    def _situation(self, status_code: int, error: BaseException | None) -> Exception:
        """Say in our words what Tornado, or a handler, raised."""
        if isinstance(error, ServiceError | BatchingError):
            return error
        if not self.METHODS:
            return UnknownPath(f"There is nothing at {self.request.path[:80]}.")
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return MethodNotAllowed(self.request.method or "", self.allowed())
        if status_code == HTTPStatus.BAD_REQUEST:
            return InvalidRequest("The request's path is not valid UTF-8.")
        return InternalError()


class NotFoundHandler(BaseHandler):
    """Every path that is no route's."""

    METHODS = ()

    def refuse(self, **_: str) -> None:
        """Answer 404, whatever the method."""
        raise HTTPError(HTTPStatus.NOT_FOUND)

    get = post = put = patch = delete = options = refuse


def request_logger(log_access: LogAccess) -> Callable[[RequestHandler], None]:
    """Return what writes the line of a finished request, as Tornado calls it."""

    def log_request(handler: RequestHandler) -> None:
        assert isinstance(handler, BaseHandler), "all of ours are"
        request = handler.request
        entry = Access(
            request.method or "",
            request.path,
            handler.get_status(),
            time.perf_counter() - handler.began,
            handler._headers.get("X-Request-ID", ""),
            request.remote_ip or "",
        )
        log_access(entry)

    return log_request
