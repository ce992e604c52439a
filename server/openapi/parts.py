"""Schemas, headers, parameters and responses that operations share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from server.dialects.json_body import plain_status
from server.dialects.native.dialect import MEDIA_TYPE
from server.problems import PROBLEMS, Problem

Operation = dict[str, Any]


Schema = dict[str, Any]


RARE = ("forbidden", "load-failed", "model-fails")  # no request for predictions is refused so


KEY_REFUSALS = ("unauthorized", "not-for-this-key")


SICK = ("model-fails", "model-stuck")


PROBLEM_TYPE = "application/problem+json"


def problem_responses(slugs: Iterable[str]) -> dict[str, Any]:
    """Return responses by status; problems of one status share a response."""
    by_status: dict[HTTPStatus, list[Problem]] = {}
    for problem in PROBLEMS.values():
        if problem.slug in slugs:
            by_status.setdefault(problem.status, []).append(problem)
    return {
        str(status.value): problem_response(problems)
        for status, problems in sorted(by_status.items())
    }


def plain_responses(slugs: Iterable[str]) -> dict[str, Any]:
    """Return responses by status, as the dialects with plain errors have them."""
    by_status: dict[int, list[Problem]] = {}
    for problem in PROBLEMS.values():
        if problem.slug in slugs:
            by_status.setdefault(plain_status(problem.status), []).append(problem)
    return {
        str(status): {
            "description": "; ".join(problem.title for problem in problems),
            "headers": refs("headers", "X-Request-ID", *CARRIED.get(problems[0].status, ())),
            "content": content("Error", {}),
        }
        for status, problems in sorted(by_status.items())
    }


def problem_response(problems: list[Problem]) -> dict[str, Any]:
    """Return the response for problems that share a status, with an example of each."""
    headers = ["X-Request-ID", *CARRIED.get(problems[0].status, ())]
    examples = {
        problem.slug: {
            "summary": problem.title,
            "value": {
                "type": f"/problems/{problem.slug}",
                "title": problem.title,
                "status": problem.status.value,
                "detail": problem.detail or "…",
                "instance": "4f1c2a",
            },
        }
        for problem in problems
    }
    return {
        "description": "; ".join(f"{problem.title} (`{problem.slug}`)" for problem in problems),
        "headers": refs("headers", *headers),
        "content": {PROBLEM_TYPE: {"schema": ref("schemas", "Problem"), "examples": examples}},
    }


def content(schema: str, bodies: dict[str, bytes]) -> dict[str, Any]:
    """Return a JSON body with its schema and examples."""
    examples = {
        summary.replace(" ", "-"): {"summary": summary, "value": json.loads(body)}
        for summary, body in bodies.items()
    }
    shown = {"examples": examples} if examples else {}
    return {MEDIA_TYPE: {"schema": ref("schemas", schema), **shown}}


def in_bytes(media_type: str) -> dict[str, Any]:
    """Return the content of a body that is not JSON."""
    return {media_type: {"schema": {"type": "string", "contentMediaType": media_type}}}


def any_of(schemas: list[Schema]) -> Schema:
    """Return the schema of what fits one of these."""
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def flag(name: str) -> Schema:
    """Return the schema of an object that says one thing is true."""
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
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer …"},
    "api-key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


KEY: list[dict[str, list[str]]] = [{name: []} for name in KEY_SCHEMES]


KEY_IF_SET = [*KEY, {}]  # the settings say whether one is needed


ERROR_SCHEMA: dict[str, Any] = {
    "description": "An error, as TensorFlow Serving and the Open Inference Protocol have it.",
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}


PROBLEM_SCHEMA: dict[str, Any] = {
    "description": "A problem document (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "Says what it is."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong with this request."},
        "instance": {"type": "string", "description": "The request's id."},
        "errors": {
            "description": "Where the data does not fit the model.",
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
    "X-Request-ID": ({"type": "string"}, "The request's id: the client's own, or a new one."),
    "X-Model-Version": ({"type": "string"}, "The version of the model that answered."),
    "Server-Timing": (
        {"type": "string"},
        "Where the time went, in milliseconds, and how many rows the batch held.",
    ),
    "Retry-After": ({"type": "integer", "minimum": 1}, "Seconds after which to try again."),
    "Allow": ({"type": "string"}, "The methods that are possible here."),
    "WWW-Authenticate": ({"type": "string"}, "How to give the key."),
    "Accept-Post": ({"type": "string"}, "The media types that are read here."),
    "Accept-Encoding": ({"type": "string"}, "The content coding that is read here."),
}


PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "X-Request-ID": (
        {"type": "string", "examples": ["4f1c2a"]},
        "An id for this request, to find it again in the logs: up to 128 of A-Z, a-z, 0-9, '.', "
        "'_' and '-'. One of another form is replaced.",
    ),
    "X-Request-Timeout-Ms": (
        {"type": "integer", "minimum": 1},
        "The milliseconds after which the answer is of no use any more.",
    ),
}


CARRIED: dict[HTTPStatus, tuple[str, ...]] = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate",),
    HTTPStatus.METHOD_NOT_ALLOWED: ("Allow",),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ("Accept-Post", "Accept-Encoding"),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Retry-After",),
}
