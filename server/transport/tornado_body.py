"""The head and the body of a request on Tornado's server, and their limits."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable
from http.client import responses
from typing import Final, Protocol

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)

from server.config import HttpSettings
from server.http.activity import LogAccess
from server.http.arriving_bodies import ArrivingBody
from server.http.message import COMMON_HEADERS, Response, replaced_id
from server.http.outside import Outside
from server.http.paths import normal_target
from server.http.rejections import Reject, Rejections
from server.http.tracing import trace_of, traced
from server.logs import Access
from server.transport.interface import MAX_DISCARDED_BYTES, origin_form
from server.transport.tornado_streams import Stream, unread_bytes

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Owner(Protocol):
    """What the body of a request needs of its server."""

    limits: HttpSettings
    rejections: Rejections
    log_access: LogAccess
    outside: Outside

    def headers_arrived(self, connection: HTTP1Connection) -> None:
        """Stop watching a request's headers."""

    def body_expected(self, body: BoundedBody) -> None:
        """Begin to watch a body."""

    def body_ended(self, body: BoundedBody) -> None:
        """Stop watching a body."""


class BoundedBody(HTTPMessageDelegate):
    """Passes a request to Tornado, or rejects it by its head or because of its body.

    The rest of a body that is too large is read and discarded. Closing the connection with data
    unread would reset it, and the client would not see the answer.
    """

    def __init__(
        self,
        server: Owner,
        inner: HTTPMessageDelegate,
        connection: HTTP1Connection,
        max_bytes: int,
    ) -> None:
        self._server = server
        self._inner = inner
        self._connection = connection
        self._max_bytes = max_bytes
        self._received = 0
        self._share = ArrivingBody(server.rejections.arriving)
        self._is_rejected = False
        self._began = 0.0
        self._start_line: RequestStartLine
        self._headers: HTTPHeaders

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Reject what the head is enough to reject, before the body is read."""
        self._server.headers_arrived(self._connection)
        self._began = time.perf_counter()
        assert isinstance(start_line, RequestStartLine)
        target, host = origin_form(start_line.path)
        target = self._server.outside.inner_target(normal_target(target))
        start_line = start_line._replace(path=target)
        if host is not None:
            headers["Host"] = host
        self._start_line, self._headers = start_line, headers
        if self._connection.stream.closed():  # pipelined, and the client has disconnected
            self._is_rejected = True
            return None
        if asks_to_close(headers):
            # Tornado itself looks for the value `close` alone, and not in a list.
            self._connection._disconnect_on_finish = True
        if has_body(headers):
            self._server.body_expected(self)
            self._check_body(start_line, headers)
        # Tornado looks for `100-continue` in small letters alone, and answers HTTP/1.0, too.
        headers.pop("Expect", None)
        return None if self._is_rejected else self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._received += len(chunk)
        if not self._is_rejected:
            self._check_size()
        if not self._is_rejected:
            return self._inner.data_received(chunk)
        if self._received > MAX_DISCARDED_BYTES:
            self._connection.close()
        return None

    def finish(self) -> None:
        self._share.count(0)
        self._server.body_ended(self)
        if self._connection.stream.closed():  # Tornado does not report this from here on
            self.on_connection_close()
            self._connection.close()
        elif self._is_rejected:
            self._connection.finish()
        else:
            self._inner.finish()

    def on_connection_close(self) -> None:
        """Notify the handler, unless the request was rejected."""
        self._share.count(0)
        self._server.body_ended(self)
        if not self._is_rejected:
            self._inner.on_connection_close()

    def reject_as_late(self) -> None:
        """Answer 408, or close the connection if the body was rejected before."""
        self._share.count(0)
        if self._is_rejected:
            self._connection.close()
        else:
            self._end_with(self._server.rejections.late_body(self._route, self._headers))

    def goes_on(self) -> bool:
        """Return whether enough of the body has arrived since the last call."""
        return self._share.goes_on(self._received)

    @property
    def _route(self) -> tuple[str, str]:
        return self._start_line.method, self._start_line.path.partition("?")[0]

    def _check_body(self, start_line: RequestStartLine, headers: HTTPHeaders) -> None:
        """Reject a body that is too large; ask for it if the client waits for `100 Continue`."""
        waits = start_line.version == "HTTP/1.1" and expects_continue(headers)
        if declared_length(headers) > self._max_bytes:
            self._reject_body(self._server.rejections.body_too_large, never_comes=waits)
        elif waits and not self._is_buffered(headers):
            rejection = self._server.rejections.by_head(self._route, headers)
            if rejection is None:
                self._connection.stream.write(CONTINUE)
            else:
                self._is_rejected = True
                self._end_with(rejection)

    def _is_buffered(self, headers: HTTPHeaders) -> bool:
        """Return whether the client has sent the body without waiting."""
        return 0 < declared_length(headers) <= unread_bytes(self._connection.stream)

    def _check_size(self) -> None:
        """Reject a body that is too large, or that finds no memory before its end arrives."""
        rejections = self._server.rejections
        if self._received > self._max_bytes:
            self._inner.on_connection_close()
            self._reject_body(rejections.body_too_large)
        elif not self._is_complete and not self._share.count(self._received):
            self._inner.on_connection_close()
            self._share.count(0)
            self._reject_body(rejections.too_many_bodies)

    @property
    def _is_complete(self) -> bool:
        return 0 < declared_length(self._headers) == self._received

    def _reject_body(self, reject: Reject, *, never_comes: bool = False) -> None:
        """Answer 413 or 503; the rest of the body is discarded, unless it never comes."""
        self._is_rejected = True
        response = reject(self._route, self._headers)
        if never_comes:
            self._end_with(response)
            return
        headers = HTTPHeaders({**COMMON_HEADERS, **self._traced(response).headers})
        headers["Content-Length"] = str(len(response.body))
        start_line = ResponseStartLine("HTTP/1.1", response.status, responses[response.status])
        self._connection.write_headers(start_line, headers, response.body)
        self._log(response)

    def _end_with(self, response: Response) -> None:
        """Answer a request whose body will not be read, and close."""
        stream = self._connection.stream
        assert isinstance(stream, Stream)
        self._log(response)
        stream.end_with(to_bytes(self._traced(response), self._start_line.method))

    def _traced(self, response: Response) -> Response:
        """Return a response with the traceparent of the request, if it has one."""
        trace = trace_of(self._headers)
        return response._replace(headers=traced(response.headers, trace))

    def _log(self, response: Response) -> None:
        id_ = response.headers["X-Request-ID"]
        entry = Access(
            *self._route,
            response.status,
            time.perf_counter() - self._began,
            id_,
            self._server.outside.client(
                self._headers, getattr(self._connection.context, "remote_ip", "")
            ),
            replaced_id(self._headers, id_),
            trace_of(self._headers),
        )
        self._server.log_access(entry)


def has_body(headers: HTTPHeaders) -> bool:
    """Return whether a request has a body."""
    return declared_length(headers) > 0 or "Transfer-Encoding" in headers


def expects_continue(headers: HTTPHeaders) -> bool:
    """Return whether the client waits for `100 Continue` before it sends the body."""
    return headers.get("Expect", "").lower() == "100-continue"


def asks_to_close(headers: HTTPHeaders) -> bool:
    """Return whether `close` is one of the options of the Connection header."""
    options = headers.get("Connection", "").lower().split(",")
    return "close" in [option.strip() for option in options]


def declared_length(headers: HTTPHeaders) -> int:
    """Return the Content-Length; 0 when it is missing or so malformed that Tornado rejects it."""
    value = headers.get("Content-Length", "")
    if not (value.isascii() and value.isdigit()):
        return 0
    digits = value.lstrip("0") or "0"
    return int(digits) if len(digits) < 19 else sys.maxsize


def to_bytes(response: Response, method: str = "") -> bytes:
    """Return a complete HTTP/1.1 response with `Connection: close`; to HEAD without the body."""
    ending = {"Content-Length": len(response.body), "Connection": "close"}
    headers = {**COMMON_HEADERS, **response.headers, **ending}
    lines = [f"HTTP/1.1 {response.status} {responses[response.status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if method == "HEAD" else head + response.body
