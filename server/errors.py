"""Every situation in which a request gets no prediction; `problems` maps it to HTTP.

The page `/problems/{slug}` shows the docstring of the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ServiceError(Exception):
    """A request that the service cannot answer as asked; its text is sent to the client."""


class InvalidRequest(ServiceError):
    """A header, a parameter, the encoding of the path or the structure of the body is invalid."""


class InvalidJSON(ServiceError):
    """The body is not JSON (RFC 8259), for example because of a trailing comma."""


@dataclass(frozen=True)
class Violation:
    """One place where a document violates its schema; `pointer` is a JSON Pointer (RFC 6901)."""

    pointer: str
    detail: str


class InvalidData(ServiceError):
    """The data does not match the inputs of the model, for example in shape or type."""

    def __init__(self, message: str, violations: list[Violation]) -> None:
        super().__init__(message)
        self.violations = violations

    def __reduce__(self) -> tuple[type[InvalidData], tuple[str, list[Violation]]]:
        """Keep the violations when it is pickled: decoder processes send it."""
        return InvalidData, (str(self), self.violations)


class UnknownPath(ServiceError):
    """The service has no such path."""


class UnknownModel(ServiceError):
    """The service has no model with this name, or not in this version."""


class LoadFailed(ServiceError):
    """The new version could not be loaded, or was rejected; the old one, if any, stays."""


class Unauthorized(ServiceError):
    """This route requires an API key, and the request has none or an unknown one."""


class NotForThisKey(ServiceError):
    """The API key is valid, but not for this route."""


class Forbidden(ServiceError):
    """The service has no API keys, so nobody can load or unload models."""


class MethodNotAllowed(ServiceError):
    """The path does not support the method of the request."""

    def __init__(self, method: str, allowed: list[str], instead: str = "") -> None:
        """`instead` says what to do, if that is not to use another method."""
        instead = instead or f"use {', '.join(allowed)}"
        super().__init__(f"{method} is not allowed here; {instead}.")
        self.allowed = allowed


class BodyTooLarge(ServiceError):
    """The body is larger than the service accepts."""


class HeadersTooLarge(ServiceError):
    """The request line and the headers together are larger than the service accepts."""


class LateHeaders(ServiceError):
    """The headers of the request did not arrive in time."""


class LateBody(ServiceError):
    """The body of the request did not arrive in time."""


class PlainHTTP(ServiceError):
    """The port speaks HTTPS, and the request came without encryption."""


class UnsupportedMediaType(ServiceError):
    """The service does not support the media type or the content coding of the body."""

    def __init__(self, detail: str, also: Sequence[str] = ()) -> None:
        """`also` are the media types that the model takes besides JSON and arrays."""
        super().__init__(detail)
        self.also = also


class Loading(ServiceError):
    """The model is not loaded and warmed up yet."""


class ModelFails(ServiceError):
    """The model fails on its own example, so the service is not ready."""


class TooManyConnections(ServiceError):
    """The number of open connections has reached its limit."""


class TooManyBodies(ServiceError):
    """The bodies that are arriving take as much memory as the service gives them."""


class UnreadAnswers(ServiceError):
    """The answers that wait for their readers take as much memory as the service gives them."""


class NonFiniteOutput(ServiceError):
    """The model returned NaN or infinity, which JSON cannot represent."""


class DecoderFailed(ServiceError):
    """The process that decodes large bodies and encodes large answers ended on this request, twice.

    The operating system may have ended it because memory ran out.
    """


class InternalError(ServiceError):
    """A bug in the server."""
