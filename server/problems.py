"""The one table of errors: status, slug, title and headers of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from http import HTTPStatus

from server import batching
from server.errors import (
    BodyTooLarge,
    DecoderFailed,
    Forbidden,
    HeadersTooLarge,
    InternalError,
    InvalidData,
    InvalidJSON,
    InvalidRequest,
    LateBody,
    LateHeaders,
    LoadFailed,
    Loading,
    MethodNotAllowed,
    ModelFails,
    NonFiniteOutput,
    NotForThisKey,
    PlainHTTP,
    TooManyBodies,
    TooManyConnections,
    Unauthorized,
    UnknownModel,
    UnknownPath,
    UnreadAnswers,
    UnsupportedMediaType,
)


@dataclass(frozen=True)
class Problem:
    """How an error is reported to a client: status, slug of its type, title.

    `detail` replaces the text of the error where it is not empty.
    """

    status: HTTPStatus
    slug: str
    title: str
    detail: str = field(default="")


PROBLEMS: dict[type[Exception], Problem] = {
    InvalidRequest: Problem(HTTPStatus.BAD_REQUEST, "invalid-request", "Invalid request"),
    InvalidJSON: Problem(HTTPStatus.BAD_REQUEST, "invalid-json", "The body is not valid JSON"),
    PlainHTTP: Problem(HTTPStatus.BAD_REQUEST, "https-required", "HTTPS required"),
    InvalidData: Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-data", "The data does not match the model"
    ),
    UnknownPath: Problem(HTTPStatus.NOT_FOUND, "not-found", "Not found"),
    UnknownModel: Problem(HTTPStatus.NOT_FOUND, "unknown-model", "Model not found"),
    LoadFailed: Problem(HTTPStatus.BAD_REQUEST, "load-failed", "The model could not be loaded"),
    Unauthorized: Problem(
        HTTPStatus.UNAUTHORIZED,
        "unauthorized",
        "API key required",
        "Send a valid API key, as Authorization: Bearer … or X-API-Key: …",
    ),
    NotForThisKey: Problem(
        HTTPStatus.FORBIDDEN,
        "not-for-this-key",
        "API key not valid for this route",
        "The API key is valid for other routes only (`allow` in auth.api_keys).",
    ),
    Forbidden: Problem(
        HTTPStatus.FORBIDDEN,
        "forbidden",
        "Changing models is disabled",
        "Models can be loaded and unloaded only if the service has API keys (auth.api_keys).",
    ),
    MethodNotAllowed: Problem(
        HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"
    ),
    LateHeaders: Problem(
        HTTPStatus.REQUEST_TIMEOUT, "late-headers", "The headers did not arrive in time"
    ),
    LateBody: Problem(HTTPStatus.REQUEST_TIMEOUT, "late-body", "The body did not arrive in time"),
    BodyTooLarge: Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", "The body is too large"
    ),
    batching.TooManyRows: Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-many-rows", "Too many rows in one request"
    ),
    UnsupportedMediaType: Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type"
    ),
    HeadersTooLarge: Problem(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers-too-large",
        "The headers are too large",
    ),
    batching.ModelFailed: Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "model-failed",
        "The model failed",
        "The model failed on this request. The log has the reason, with the id of the request.",
    ),
    NonFiniteOutput: Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "non-finite-output", "The prediction is NaN or infinite"
    ),
    DecoderFailed: Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "decoder-failed", "The decoder process ended"
    ),
    InternalError: Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal-error",
        "Internal error",
        "This is a bug in the server. The log has the traceback, with the id of the request.",
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
        "The service has as many open connections as it allows; try again soon.",
    ),
    TooManyBodies: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "arriving-bodies", "Too many large bodies are arriving"
    ),
    UnreadAnswers: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "unread-answers", "Too many answers wait for their readers"
    ),
    batching.Draining: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "draining",
        "The service is shutting down",
        "The service is shutting down and accepts no new requests; try another instance.",
    ),
    ModelFails: Problem(HTTPStatus.SERVICE_UNAVAILABLE, "model-fails", "Model self-check failed"),
    batching.ModelUnavailable: Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "model-unavailable", "The model cannot be called"
    ),
    batching.DeadlineExceeded: Problem(
        HTTPStatus.GATEWAY_TIMEOUT,
        "deadline-exceeded",
        "Deadline exceeded",
        "The deadline passed before the prediction was computed.",
    ),
}


LOADING_RETRY_SECONDS = 2


def problem_of(error: Exception) -> Problem:
    """Return the entry of `error`; one that is not in the table is an internal error."""
    return PROBLEMS.get(type(error), PROBLEMS[InternalError])


def detail_of(error: Exception) -> str:
    """Return the detail for the client; never the text of an error that is not in the table."""
    return problem_of(error).detail or str(error)


def headers_of(error: Exception) -> dict[str, str]:
    """Return the headers that an error adds to its response (RFC 9110, sections 10 and 15)."""
    match error:
        case MethodNotAllowed():
            return {"Allow": ", ".join(error.allowed)}
        case UnsupportedMediaType():
            accepted = ", ".join(("application/json", "application/x-npy", *error.also))
            return {"Accept-Post": accepted, "Accept-Encoding": "gzip, deflate, zstd"}
        case batching.Overloaded():
            return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
        case Unauthorized():
            return {"WWW-Authenticate": 'Bearer realm="predictions"'}
        case Loading() | batching.ModelUnavailable():  # until it is loaded again
            return {"Retry-After": str(LOADING_RETRY_SECONDS)}
        case batching.Draining() | TooManyConnections() | ModelFails():
            return {"Retry-After": "1"}
        case TooManyBodies() | UnreadAnswers():
            return {"Retry-After": "1"}
        case _:
            return {}
