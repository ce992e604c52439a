"""The one table of errors: status, slug, title and headers of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from http import HTTPStatus

from server import batching
from server.errors import (
    BodyTooLarge,
    Forbidden,
    InternalError,
    InvalidData,
    InvalidJSON,
    InvalidRequest,
    LoadFailed,
    Loading,
    MethodNotAllowed,
    ModelFails,
    NonFiniteOutput,
    NotForThisKey,
    TooManyConnections,
    Unauthorized,
    UnknownModel,
    UnknownPath,
    UnsupportedMediaType,
)


@dataclass(frozen=True)
class Problem:
    """How a situation is told to a client: status, the slug of its type, its title."""

    status: HTTPStatus
    slug: str
    title: str
    detail: str = field(default="")


PROBLEMS: dict[type[Exception], Problem] = {
    InvalidRequest: Problem(HTTPStatus.BAD_REQUEST, "invalid-request", "Invalid request"),
    InvalidJSON: Problem(HTTPStatus.BAD_REQUEST, "invalid-json", "The body is not JSON"),
    InvalidData: Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-data", "The data does not fit the model"
    ),
    UnknownPath: Problem(HTTPStatus.NOT_FOUND, "not-found", "Nothing is here"),
    UnknownModel: Problem(HTTPStatus.NOT_FOUND, "unknown-model", "No such model"),
    LoadFailed: Problem(HTTPStatus.BAD_REQUEST, "load-failed", "The model was not loaded"),
    Unauthorized: Problem(
        HTTPStatus.UNAUTHORIZED,
        "unauthorized",
        "A key is needed",
        "Send one of the service's keys, as Authorization: Bearer … or X-API-Key: …",
    ),
    NotForThisKey: Problem(
        HTTPStatus.FORBIDDEN,
        "not-for-this-key",
        "The key does not open this",
        "This key is known, and may do other things here (`allow` in auth.api_keys).",
    ),
    Forbidden: Problem(
        HTTPStatus.FORBIDDEN,
        "forbidden",
        "Not possible here",
        "The models can only be changed where the service has keys (auth.api_keys).",
    ),
    MethodNotAllowed: Problem(
        HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"
    ),
    BodyTooLarge: Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", "The body is too large"
    ),
    batching.TooManyRows: Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-many-rows", "Too many rows in one request"
    ),
    UnsupportedMediaType: Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type"
    ),
    batching.ModelFailed: Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "model-failed",
        "The model failed",
        "The model failed on this request; the log has the reason under the request id.",
    ),
    NonFiniteOutput: Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "non-finite-output", "The prediction is not a number"
    ),
    InternalError: Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal-error",
        "Internal error",
        "Something went wrong here; the log has the reason under the request id.",
    ),
    Loading: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "loading",
        "The model is still loading",
        "The model is being loaded and warmed up; try again soon.",
    ),
    batching.Overloaded: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "Too many requests are waiting"
    ),
    TooManyConnections: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too-many-connections",
        "Too many connections",
        "The service has as many open connections as it takes; try again soon.",
    ),
    batching.Draining: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "draining",
        "The service is shutting down",
        "The service is about to end and accepts nothing more; try again, at another instance.",
    ),
    ModelFails: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "model-fails", "The model fails on what it once answered"
    ),
    batching.ModelStuck: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "model-stuck", "The model does not answer any more"
    ),
    batching.DeadlineExceeded: Problem(
        HTTPStatus.GATEWAY_TIMEOUT,
        "deadline-exceeded",
        "The deadline passed",
        "The answer was not there before the request's deadline.",
    ),
}


LOADING_RETRY_SECONDS = 2


def problem_of(error: Exception) -> Problem:
    """Return the table's line for `error`; an error that is not in it is a mistake of ours."""
    return PROBLEMS.get(type(error), PROBLEMS[InternalError])


def detail_of(error: Exception) -> str:
    """Return the sentence for the client; never the text of an error that is not in the table."""
    return problem_of(error).detail or str(error)


def headers_of(error: Exception) -> dict[str, str]:
    """Return what an error's answer carries besides its body (RFC 9110, sections 10 and 15)."""
    match error:
        case MethodNotAllowed():
            return {"Allow": ", ".join(error.allowed)}
        case UnsupportedMediaType():
            accepted = "application/json, application/x-npy"
            return {"Accept-Post": accepted, "Accept-Encoding": "identity"}
        case batching.Overloaded():
            return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
        case Unauthorized():
            return {"WWW-Authenticate": 'Bearer realm="predictions"'}
        case Loading() | batching.ModelStuck():  # after which it is loaded anew
            return {"Retry-After": str(LOADING_RETRY_SECONDS)}
        case batching.Draining() | TooManyConnections() | ModelFails():
            return {"Retry-After": "1"}
        case _:
            return {}
