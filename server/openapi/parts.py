"""Schemas, headers, parameters and responses that several operations use."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from server.dialects.json_body import plain_status
from server.dialects.native.json_codec import MEDIA_TYPE
from server.problems import PROBLEMS, Problem

Operation = dict[str, Any]
Schema = dict[str, Any]

NEVER_FOR_PREDICTIONS = ("forbidden", "https-required", "load-failed", "model-fails")
KEY_ERRORS = ("unauthorized", "not-for-this-key")
NOT_READY = ("model-fails", "model-unavailable")
PROBLEM_TYPE = "application/problem+json"


def problem_responses(slugs: Iterable[str]) -> dict[str, Any]:
    """Return problem documents by status; problems of one status are one response."""
    by_status: dict[HTTPStatus, list[Problem]] = {}
    for problem in PROBLEMS.values():
        if problem.slug in slugs:
            by_status.setdefault(problem.status, []).append(problem)
    return {
        str(status.value): problem_response(problems)
        for status, problems in sorted(by_status.items())
    }


def plain_responses(slugs: Iterable[str]) -> dict[str, Any]:
    """Return plain errors (`{"error": …}`) by status."""
    by_status: dict[int, list[Problem]] = {}
    for problem in PROBLEMS.values():
        if problem.slug in slugs:
            by_status.setdefault(plain_status(problem.status), []).append(problem)
    return {
        str(status): {
            "description": "; ".join(problem.title for problem in problems),
            "headers": refs("headers", "X-Request-ID", *EXTRA_HEADERS.get(problems[0].status, ())),
            "content": content("Error"),
        }
        for status, problems in sorted(by_status.items())
    }


def problem_response(problems: list[Problem]) -> dict[str, Any]:
    """Return the response for problems of one status, with an example of each."""
    headers = ["X-Request-ID", *EXTRA_HEADERS.get(problems[0].status, ())]
    examples = refs("examples", *(problem.slug for problem in problems))
    return {
        "description": "; ".join(f"{problem.title} (`{problem.slug}`)" for problem in problems),
        "headers": refs("headers", *headers),
        "content": {PROBLEM_TYPE: {"schema": ref("schemas", "Problem"), "examples": examples}},
    }


def problem_example(problem: Problem) -> dict[str, Any]:
    """Return an example of a problem document."""
    return {
        "summary": problem.title,
        "value": {
            "type": f"/problems/{problem.slug}",
            "title": problem.title,
            "status": problem.status.value,
            "detail": problem.detail or "…",
            "instance": "4f1c2a",
        },
    }


def content(schema: str, examples: Iterable[str] = ()) -> dict[str, Any]:
    """Return a JSON body with its schema, and the names of its examples among the components."""
    shown = refs("examples", *examples)
    return {MEDIA_TYPE: {"schema": ref("schemas", schema)} | ({"examples": shown} if shown else {})}


def binary_content(media_type: str) -> dict[str, Any]:
    """Return the content of a body that is not JSON."""
    return {media_type: {"schema": {"type": "string", "contentMediaType": media_type}}}


def any_of(schemas: Iterable[Schema]) -> Schema:
    """Return the schema that accepts what one of `schemas` accepts."""
    several = list(schemas)
    return several[0] if len(several) == 1 else {"anyOf": several}


def flag(name: str) -> Schema:
    """Return the schema of an object in which `name` is true."""
    return {"type": "object", "required": [name], "properties": {name: {"const": True}}}


def path_parameter(name: str, schema: Schema) -> dict[str, Any]:
    """Return a parameter that is part of the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema}


def text_like(example: str) -> Schema:
    """Return the schema of a string, with an example of it."""
    return {"type": "string", "examples": [example]}


def ref(kind: str, name: str) -> dict[str, str]:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def refs(kind: str, *names: str) -> dict[str, dict[str, str]]:
    """Return references to components, by name."""
    return {name: ref(kind, name) for name in names}


KEY_SCHEMES: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key; the same as with `bearer`.",
    },
}
KEY: list[dict[str, list[str]]] = [{name: []} for name in KEY_SCHEMES]
KEY_IF_SET = [*KEY, {}]  # the settings decide whether a key is required

ERROR_SCHEMA: dict[str, Any] = {
    "description": "An error as in TensorFlow Serving and the Open Inference Protocol.",
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}

PROBLEM_SCHEMA: dict[str, Any] = {
    "description": "A problem document (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "The problem type; GET this path for an explanation.",
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong with this request."},
        "instance": {"type": "string", "description": "The id of the request."},
        "errors": {
            "description": "Where the data does not match the model.",
            "type": "array",
            "maxItems": 8,
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON Pointer (RFC 6901)."},
                    "detail": {"type": "string", "maxLength": 160},
                },
            },
        },
    },
}

HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "X-Request-ID": ({"type": "string"}, "The id of the request: the client's own, or a new one."),
    "X-Model-Version": ({"type": "string"}, "The version of the model that made the prediction."),
    "X-Model-Engine": (
        {"enum": ["tensorflow", "frozen", "onnx", "openvino"]},
        "What computed the prediction: TensorFlow, also with constant weights (frozen), ONNX "
        "Runtime or OpenVINO.",
    ),
    "Server-Timing": (
        {"type": "string"},
        "Milliseconds in the queue, in the model and in total; number of rows in the batch.",
    ),
    "Retry-After": ({"type": "integer", "minimum": 1}, "Seconds to wait before trying again."),
    "Allow": ({"type": "string"}, "The allowed methods."),
    "WWW-Authenticate": ({"type": "string"}, "How to send the API key."),
    "Accept-Post": ({"type": "string"}, "The supported media types."),
    "Accept-Encoding": ({"type": "string"}, "The supported content codings."),
}

PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "X-Request-ID": (
        {"type": "string", "examples": ["4f1c2a"]},
        "An id for this request, which appears in the logs: up to 128 characters of A-Z, a-z, "
        "0-9 and . _ : = / + -. An invalid id is replaced by a new one.",
    ),
    "X-Request-Timeout-Ms": (
        {"type": "integer", "minimum": 1},
        "Deadline in milliseconds, after which the response is 504. The deadline of the service "
        "applies if it is earlier.",
    ),
    "traceparent": (
        text_like("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        "The trace that the request belongs to (W3C Trace Context). The answer repeats it, and the "
        "logs have its ids.",
    ),
}

EXTRA_HEADERS: dict[HTTPStatus, tuple[str, ...]] = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate",),
    HTTPStatus.METHOD_NOT_ALLOWED: ("Allow",),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ("Accept-Post", "Accept-Encoding"),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Retry-After",),
}
