"""Requests that a transport rejects itself: what it answers, counts and logs.

A request whose head was read gets an access line like any other; the transport writes it. What was
never read as a request gets a line in the application log instead.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Final, Protocol

from server.config import HttpSettings
from server.dialects.interface import NO_HEADERS, Headers
from server.dialects.table import dialect_of
from server.errors import (
    BodyTooLarge,
    HeadersTooLarge,
    LateBody,
    LateHeaders,
    PlainHTTP,
    ServiceError,
    TooManyBodies,
    TooManyConnections,
)
from server.http.arriving_bodies import ArrivingBodies
from server.http.message import Response, problem, request_id
from server.http.outside import Outside
from server.http.paths import normal_path
from server.logs.format import of_request

log = logging.getLogger(__name__)

# In place of a problem document: whoever sent these bytes may read something else than HTTP.
NOT_HTTP: Final = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
REQUEST_LINE_BYTES: Final = 1024  # how much of a request is looked at to find its path
MAX_SHOWN: Final = 60  # characters of a path

_METHOD: Final = re.compile(rb"[\r\n]*(?:%b+ |%b*\Z)" % ((rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]",) * 2))
_REQUEST_LINE: Final = re.compile(r"([A-Z]{1,20}) (/[!-~]*)")
_REASONS: Final = {
    BodyTooLarge: "body_too_large",
    HeadersTooLarge: "headers_too_large",
    LateBody: "late_body",
    LateHeaders: "late_headers",
    PlainHTTP: "plain_http",
    TooManyBodies: "arriving_bodies",
    TooManyConnections: "too_many_connections",
}

Route = tuple[str, str]  # method, and path in normal form
Reject = Callable[[Route, Headers], Response]  # makes the response to a request


class RejectingEndpoints(Protocol):
    """Makes the error responses to requests whose head was read."""

    def reject(self, route: Route, error: Exception, headers: Headers, /) -> Response:
        """Return the error response, in the format of the path's protocol."""

    def check_head(self, route: Route, headers: Headers, /) -> None:
        """Raise the error that a request gets whatever its body is."""


class Rejections:
    """What both transports do with requests that they reject.

    `client` is an address; `start` is the beginning of a request that was not read completely.

    Args:
        limits: named in the errors.
        endpoints: make the responses to requests whose head was read.
        count: counts a rejection by its reason.
        outside: removes the path under which a proxy shows the service.

    Attributes:
        arriving: the memory of bodies that are arriving.
    """

    def __init__(
        self,
        limits: HttpSettings,
        endpoints: RejectingEndpoints,
        count: Callable[[str], None],
        outside: Outside,
    ) -> None:
        self.arriving = ArrivingBodies(limits)
        self._limits = limits
        self._endpoints = endpoints
        self._count = count
        self._outside = outside

    def by_head(self, route: Route, headers: Headers) -> Response | None:
        """Return the response to a request that needs no body to be rejected, else None."""
        try:
            self._endpoints.check_head(route, headers)
        except ServiceError as error:
            return self._endpoints.reject(route, error, headers)
        return None

    def body_too_large(self, route: Route, headers: Headers) -> Response:
        most = self._limits.max_body_bytes
        return self._of_request(
            BodyTooLarge(f"The body is larger than {most} bytes."), route, headers
        )

    def too_many_bodies(self, route: Route, headers: Headers) -> Response:
        most = self.arriving.limit
        text = f"Bodies of {most} bytes (http.body_bytes) are arriving."
        return self._of_request(TooManyBodies(text), route, headers)

    def late_body(self, route: Route, headers: Headers) -> Response:
        seconds = self._limits.body_timeout_s
        text = f"Too little of the body arrived within {seconds:g} s (http.body_timeout_s)."
        return self._of_request(LateBody(text), route, headers)

    def headers_too_large(self, client: str, start: bytes) -> Response:
        most = self._limits.max_header_bytes
        text = "The request line and the headers are larger than"
        error = HeadersTooLarge(f"{text} {most} bytes (http.max_header_bytes).")
        return self._of_bytes(error, client, start)

    def late_headers(self, client: str, start: bytes) -> Response:
        seconds = self._limits.header_timeout_s
        text = f"The headers did not arrive within {seconds:g} s (http.header_timeout_s)."
        return self._of_bytes(LateHeaders(text), client, start)

    def plain_http(self, client: str, start: bytes) -> Response:
        error = PlainHTTP("This port speaks HTTPS only: use https:// instead of http://.")
        return self._of_bytes(error, client, start)

    @staticmethod
    def is_http(start: bytes) -> bool:
        """Return whether bytes can be the beginning of a request."""
        return _METHOD.match(start) is not None

    def too_many_connections(self, client: str) -> Response:
        most = self._limits.max_connections
        error = TooManyConnections(f"{most} connections are open (http.max_connections).")
        return self._of_bytes(error, client, b"")

    def not_http(self, client: str) -> bytes:
        """Return the response to bytes that are no request, or can be read as different ones."""
        self._count("not_http")
        log.debug("rejected bytes from %s with 400: not HTTP, or ambiguous", client)
        return NOT_HTTP

    def _of_request(self, error: ServiceError, route: Route, headers: Headers) -> Response:
        self._count(_REASONS[type(error)])
        return self._endpoints.reject(route, error, headers)

    def _of_bytes(self, error: ServiceError, client: str, start: bytes) -> Response:
        self._count(_REASONS[type(error)])
        line = _REQUEST_LINE.match(start[:REQUEST_LINE_BYTES].decode("latin-1"))
        method, path = line.groups() if line else ("", "")
        path = self._outside.inner_path(normal_path(path.partition("?")[0]))
        response = problem(error, request_id(NO_HEADERS), dialect_of(path))
        log.info(
            "rejected %s from %s with %d: %s",
            f"{method} {path[:MAX_SHOWN]}" if line else "a connection",
            client,
            response.status,
            error,
            extra=of_request(response.headers["X-Request-ID"]),
        )
        return response
