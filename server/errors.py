"""Every situation in which a request gets no prediction, and the answer that HTTP gives to it."""

from __future__ import annotations

from dataclasses import dataclass


class ServiceError(Exception):
    """A request that gets no prediction; the text is for its sender."""


class InvalidRequest(ServiceError):
    """Something other than the body is wrong: a header, or the path's encoding."""


class InvalidJSON(ServiceError):
    """The body is no JSON document."""


@dataclass(frozen=True)
class Violation:
    """One place at which a document breaks its schema; `pointer` is a JSON Pointer (RFC 6901)."""

    pointer: str
    detail: str


class InvalidData(ServiceError):
    """The body is JSON, but not what the model takes."""

    def __init__(self, message: str, violations: list[Violation]) -> None:
        super().__init__(message)
        self.violations = violations


class UnknownPath(ServiceError):
    """Nothing is served here."""


class UnknownModel(ServiceError):
    """No model, or no version of one, is loaded under this name."""


class LoadFailed(ServiceError):
    """A model could not be loaded, or not take the place of the one that is served."""


class Unauthorized(ServiceError):
    """A key is needed, and none or a wrong one was given."""


class NotForThisKey(ServiceError):
    """A key was given that opens other things than this one."""


class Forbidden(ServiceError):
    """Nobody may do this here."""


class MethodNotAllowed(ServiceError):
    """The path takes other methods."""

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(f"{method} is not possible here; use {', '.join(allowed)}")
        self.allowed = allowed


class BodyTooLarge(ServiceError):
    """The body is longer than the service reads."""


class UnsupportedMediaType(ServiceError):
    """The body is of a type, or in a content coding, that the service does not read."""


class Loading(ServiceError):
    """The model is not there yet."""


class ModelFails(ServiceError):
    """The model fails on rows that it has answered before, so it is not ready."""


class TooManyConnections(ServiceError):
    """No more connections are accepted for now."""


class NonFiniteOutput(ServiceError):
    """The model answered NaN or infinity, which JSON cannot say."""


class InternalError(ServiceError):
    """A mistake of ours."""
