"""The base of all handlers: body, request id, problem documents, access line."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Any, ClassVar, Final

from tornado.concurrent import Future
from tornado.escape import json_encode
from tornado.web import HTTPError, RequestHandler, stream_request_body

from server.batching import BatchingError
from server.dialects.interface import Headers
from server.dialects.json_body import CODINGS
from server.dialects.table import dialect_of
from server.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    ServiceError,
    UnknownPath,
)
from server.handlers.made_once import Body
from server.handlers.parts import Parts
from server.http.activity import LogAccess
from server.http.auth import ApiKeys
from server.http.codings import COMPRESS, is_text, preferred
from server.http.message import (
    COMMON_HEADERS,
    MAX_JOINED,
    Response,
    problem,
    replaced_id,
    request_id,
)
from server.http.outside import Seen
from server.http.tracing import TRACEPARENT, trace_of
from server.logs import Access
from server.logs.format import of_request
from server.serving.service import ServiceState

log = logging.getLogger(__name__)

# What to do in place of what other servers have, by how a path begins and what is in it.
_INSTEAD: Final = {
    ("/v1/", "/labels/"): "ask for a version by its number",
    ("/v2/", "sharedmemory"): "send tensors in the request, in bytes if they are large",
    ("/v2/", "/trace/setting"): "send traceparent, which the logs repeat",
    ("/v2/", "/logging"): "set logging.level",
    ("/v2/", "/generate"): "ask …/infer",
}


@stream_request_body  # without it, Tornado parses forms of any size before it calls a handler
class BaseHandler(RequestHandler):
    """The base of all handlers.

    Attributes:
        METHODS: the methods that it answers, beside OPTIONS.
    """

    METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD")

    def initialize(self, parts: Parts) -> None:
        """Take the parts, and count the request as in progress."""
        self.began = time.perf_counter()  # Tornado measures with the wall clock
        self.parts = parts
        self.service = parts.service
        self.keys = parts.keys
        parts.activity.begin(self)

    def prepare(self) -> None:
        """Prepare for the body; the headers have arrived."""
        self.chunks: list[bytes] = []
        self.add_cors_headers()

    @cached_property
    def request_id(self) -> str:
        """The client's X-Request-ID if it is valid, else a new one."""
        return request_id(self.request.headers)

    @cached_property
    def trace(self) -> str:
        """The client's traceparent if it is valid, else an empty string."""
        return trace_of(self.request.headers)

    @cached_property
    def seen(self) -> Seen:
        """How the request is seen from outside."""
        request = self.request
        return self.parts.outside.seen(
            request.headers, request.remote_ip or "", request.protocol, request.host
        )

    def set_default_headers(self) -> None:
        """Replace Tornado's headers, which reveal its version."""
        self.set_header("X-Request-ID", self.request_id)
        if self.trace:
            self.set_header(TRACEPARENT, self.trace)
        self._headers.update(COMMON_HEADERS)  # constants need no validation

    def data_received(self, chunk: bytes) -> None:
        """Collect the body if anybody uses it; the transport limits its size."""
        if "POST" in self.METHODS:
            self.chunks.append(chunk)

    def take_body(self) -> bytes:
        """Return the body and release it, because a request may wait for long."""
        body, self.chunks = b"".join(self.chunks), []
        return body

    def head(self, **parameters: str) -> Any:
        """Answer like GET; Tornado omits the body."""
        return self.get(**parameters)

    def options(self, **_: str) -> None:
        """Answer with the allowed methods, or to a CORS preflight."""
        self.set_header("Allow", ", ".join(self.allowed()))
        self._headers.update(self.parts.cors.preflight(self.request.headers, self.allowed()))
        self.set_status(HTTPStatus.NO_CONTENT)

    @classmethod
    def allowed(cls) -> list[str]:
        return [*cls.METHODS, "OPTIONS"]

    @classmethod
    def check_head(cls, method: str, headers: Headers, keys: ApiKeys) -> None:  # noqa: ARG003  # of subclasses
        """Raise the error that a request gets whatever its body is; raises MethodNotAllowed."""
        if method not in cls.allowed():
            raise MethodNotAllowed(method, cls.allowed())

    def add_cors_headers(self) -> None:
        self._headers.update(self.parts.cors.headers(self.request.headers))

    def respond(self, response: Response) -> None:
        self.set_status(response.status)
        self.clear_header("Content-Type")
        for name, value in response.headers.items():
            self.set_header(name, value)
        if len(response.body) > MAX_JOINED:  # joined with its headers, it would be copied
            self._send_head(len(response.body))
        sent = self.finish(response.body)
        if reserved := response.reserved:
            sent.add_done_callback(lambda _: reserved.release())

    def send_json(self, document: Mapping[str, Any]) -> None:
        """Answer with a JSON document."""
        self.set_header("Content-Type", "application/json")
        self.finish(json_encode(document))

    def send_body(self, body: Body) -> None:
        """Send a body that other requests share, compressed where the client takes that.

        The headers go first and alone: joined with them, the body would be copied for each reader.
        """
        chosen = body.plain
        if self._coding_of_answer("gzip"):
            chosen = body.gzipped
        self._send_head(len(chosen))
        self.finish(chosen)

    def _send_head(self, size: int) -> None:
        """Send the headers before a body of so many bytes."""
        self.set_header("Content-Length", str(size))
        self._close_if_draining()
        self.flush()

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        """Send the response; the request has ended when its last byte is sent.

        While draining, every response has `Connection: close`. Tornado sets it only if it decided
        to close the connection before the request came.
        """
        self._close_if_draining()
        if isinstance(chunk, str | bytes) and len(chunk) >= self.parts.endpoints.codings.least:
            chunk = self._compressed(chunk)
        sent = super().finish(chunk)
        sent.add_done_callback(self._sent)
        return sent

    def on_connection_close(self) -> None:
        """End the request: its client has disconnected."""
        super().on_connection_close()
        self.chunks = []  # of a body that was rejected; the client may still send the rest
        self.parts.activity.end(self)

    def compute_etag(self) -> None:
        """Compute none: responses are not cached."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send the error in the format of the path's dialect."""
        error = kwargs.get("exc_info", (None, None))[1]
        situation = self._situation(status_code, error)
        self.add_cors_headers()  # Tornado has removed all headers
        self.respond(problem(situation, self.request_id, dialect_of(self.request.path)))

    def log_exception(self, _: Any, value: BaseException | None, __: Any) -> None:
        """Log internal errors, but not errors of clients."""
        if not isinstance(value, HTTPError | ServiceError | BatchingError):
            log.error(
                "internal error", exc_info=value, extra=of_request(self.request_id, self.trace)
            )

    def _compressed(self, body: str | bytes) -> str | bytes:
        """Return a body as the client takes it; documents are small enough to be compressed here.

        Those of predictions and of `send_body` have been compressed, or are not to be.
        """
        is_decided = "Accept-Encoding" in self._headers.get("Vary", "")
        if is_decided or not is_text(self._headers.get("Content-Type", "")):
            return body
        coding = self._coding_of_answer(*CODINGS)
        return (
            COMPRESS[coding](body if isinstance(body, bytes) else body.encode()) if coding else body
        )

    def _coding_of_answer(self, *offered: str) -> str:
        """Choose how the body is compressed, or an empty string, and set the headers for it."""
        vary = [self._headers["Vary"]] if "Vary" in self._headers else []
        self.set_header("Vary", ", ".join([*vary, "Accept-Encoding"]))
        coding = preferred(self.request.headers.get("Accept-Encoding", ""), offered)
        if coding:
            self.set_header("Content-Encoding", coding)
        return coding

    def _close_if_draining(self) -> None:
        if self.service.state is ServiceState.DRAINING:
            self.set_header("Connection", "close")

    def _sent(self, sent: Future[None]) -> None:
        sent.exception()  # a client that disconnects is not an error of the server
        self.parts.activity.end(self)

    def _situation(self, status_code: int, error: BaseException | None) -> Exception:
        """Return the error of `server.errors` for what Tornado or a handler raised."""
        if isinstance(error, ServiceError | BatchingError):
            return error
        if not self.METHODS:
            return no_route_to(self.request.path)
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return MethodNotAllowed(self.request.method or "", self.allowed())
        if status_code == HTTPStatus.BAD_REQUEST:
            return InvalidRequest("The path is not valid UTF-8.")
        return InternalError()


class NotFoundHandler(BaseHandler):
    """Answers paths without a route."""

    METHODS = ()

    def answer_404(self, **_: str) -> None:
        """Answer 404 to any method."""
        raise HTTPError(HTTPStatus.NOT_FOUND)

    get = post = put = patch = delete = options = answer_404


def no_route_to(path: str) -> UnknownPath:
    """Return the error for a path without a route."""
    for (start, part), instead in _INSTEAD.items():
        if path.startswith(start) and part in path:
            return UnknownPath(f"The service has no path {path[:80]}: {instead}.")
    return UnknownPath(f"The service has no path {path[:80]}.")


def request_logger(log_access: LogAccess) -> Callable[[RequestHandler], None]:
    """Return the function that Tornado calls to log a finished request."""

    def log_request(handler: RequestHandler) -> None:
        assert isinstance(handler, BaseHandler), "ROUTES has no others"
        request = handler.request
        entry = Access(
            request.method or "",
            request.path,
            handler.get_status(),
            time.perf_counter() - handler.began,
            handler.request_id,
            handler.seen.client,
            replaced_id(request.headers, handler.request_id),
            handler.trace,
        )
        log_access(entry)

    return log_request
