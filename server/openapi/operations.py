"""The descriptions of all other routes, one function each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from server.dialects.native.json_codec import MEDIA_TYPE
from server.openapi.parts import (
    KEY,
    KEY_ERRORS,
    KEY_IF_SET,
    NOT_READY,
    Operation,
    Schema,
    flag,
    path_parameter,
    plain_responses,
    problem_responses,
    refs,
    text_like,
)
from server.problems import PROBLEMS
from server.serving.served_model import ServedModel


def describe_server_metadata(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /v2`."""
    text = {"type": "string"}
    schema = {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": text,
            "version": text,
            "extensions": {"type": "array", "items": text},
        },
    }
    return describe_get(
        "models", "server-metadata", "Server metadata", schema, respond=plain_responses
    )


def describe_all_statistics(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /v2/models/stats`."""
    schema = {
        "type": "object",
        "required": ["model_stats"],
        "properties": {"model_stats": {"type": "array", "items": {"type": "object"}}},
    }
    described = describe_get(
        "models",
        "all-statistics",
        "Statistics of all models",
        schema,
        errors=KEY_ERRORS,
        respond=plain_responses,
    )
    described["get"]["security"] = KEY_IF_SET
    return described


def describe_model_list(protocol: str) -> Callable[[ServedModel], dict[str, Operation]]:
    """Return the function that describes the list of models under `/v1` or `/v2`."""
    names = {"type": "array", "items": {"type": "string"}}
    schema = {"type": "object", "required": ["models"], "properties": {"models": names}}
    return lambda _: describe_get(
        "models", f"models-{protocol}", "Names of all models", schema, respond=plain_responses
    )


def describe_model_document(
    name: str, version: str, what: str
) -> Callable[[ServedModel], dict[str, Operation]]:
    """Return the function that describes a document about a model, or about one version."""

    def describe(model: ServedModel) -> dict[str, Operation]:
        about = "version" if version else "model"
        summary = f"{about.capitalize()} {what}"
        described = describe_get("models", f"{about}-{name}", summary, {"type": "object"})
        errors = ["unknown-model", "loading", "method-not-allowed"]
        if name == "ready":
            errors += NOT_READY
        if name == "statistics":
            errors += KEY_ERRORS
            described["get"]["security"] = KEY_IF_SET
        described["get"]["responses"] |= plain_responses(errors)
        parameters = [path_parameter("name", text_like(model.name))]
        if version:
            parameters.append(path_parameter("version", text_like(model.version)))
        return {"get": {"parameters": parameters, **described["get"]}}

    return describe


def describe_index(_: ServedModel) -> dict[str, Operation]:
    """Describe `POST /v2/repository/index`."""
    text = {"type": "string"}
    state = {"enum": ["LOADING", "READY", "UNAVAILABLE"]}
    line = {
        "type": "object",
        "required": ["name", "version", "state", "reason"],
        "properties": {"name": text, "version": text, "state": state, "reason": text},
    }
    only_ready = {
        "type": ["boolean", "null"],
        "description": "List only versions that are ready.",
    }
    body = {"type": "object", "properties": {"ready": only_ready}}
    described = describe_repository_call(
        "index",
        "List models and versions",
        body,
        ["invalid-json", "invalid-request"],
        {"type": "array", "items": line},
    )
    described["post"]["security"] = KEY_IF_SET
    listed = describe_get(
        "repository",
        "repository-list",
        "List models and versions without a body",
        {"type": "array", "items": line},
        errors=KEY_ERRORS,
        respond=plain_responses,
    )
    listed["get"]["security"] = KEY_IF_SET
    return listed | described


def describe_load(model: ServedModel) -> dict[str, Operation]:
    """Describe `POST /v2/repository/models/{name}/load`."""
    rollback = {
        "type": ["boolean", "null"],
        "description": "Go back to the version that was served before.",
    }
    return describe_model_change(
        model, "load", "Load, reload or roll back a model", {"rollback": rollback}
    )


def describe_unload(model: ServedModel) -> dict[str, Operation]:
    """Describe `POST /v2/repository/models/{name}/unload`."""
    dependents = {"description": "Ignored, because no model depends on another."}
    return describe_model_change(
        model, "unload", "Unload a model", {"unload_dependents": dependents}
    )


def describe_model_change(
    model: ServedModel, name: str, summary: str, parameters: Schema
) -> dict[str, Operation]:
    """Describe a request that changes a model of the repository."""
    parameters_schema = {
        "type": ["object", "null"],
        "properties": parameters,
        "additionalProperties": False,
    }
    body = {"type": "object", "properties": {"parameters": parameters_schema}}
    errors = ["invalid-json", "invalid-request", "load-failed", "forbidden"]
    described = describe_repository_call(
        name, summary, body, [*errors, "unknown-model", "draining"], {"type": "object"}
    )
    described["post"]["responses"]["200"]["description"] = "Done; an empty object."
    described["post"]["parameters"] = [path_parameter("name", text_like(model.name))]
    described["post"]["security"] = KEY
    return described


def describe_repository_call(
    name: str, summary: str, body: Schema, errors: list[str], answer: Schema
) -> dict[str, Operation]:
    """Describe a request to the repository."""
    errors = [*errors, *KEY_ERRORS, "body-too-large"]
    operation = describe_get(
        "repository",
        f"repository-{name}",
        summary,
        answer,
        errors=errors,
        respond=plain_responses,
    )["get"]
    operation["requestBody"] = {"required": False, "content": {MEDIA_TYPE: {"schema": body}}}
    return {"post": operation}


def describe_liveness(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /v2/health/live`."""
    described = describe_get("health", "live", "Liveness", flag("live"), respond=plain_responses)
    described["get"]["responses"]["200"]["description"] = "The process works."
    return described


def describe_readiness(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /v2/health/ready`."""
    schema = flag("ready")
    text = {"type": "string"}
    state = {"enum": ["LOADING", "READY", "UNAVAILABLE"]}
    failure = {
        **text,
        "description": "Why it cannot be called now, or why the last attempt to load it failed.",
    }
    model = {
        "type": "object",
        "required": ["name", "version", "state"],
        "properties": {"name": text, "version": text, "state": state, "failure": failure},
        "additionalProperties": False,
    }
    models = {"type": "array", "items": model}
    schema["properties"] |= {"model": text, "version": text, "models": models}
    errors = ["loading", "draining", *NOT_READY]
    described = describe_get(
        "health", "ready", "Readiness", schema, errors=errors, respond=plain_responses
    )
    described["get"]["responses"]["200"]["description"] = "Predictions are possible."
    return described


def describe_metrics(name: str, where: str = "") -> Callable[[ServedModel], dict[str, Operation]]:
    """Return the function that describes the metrics at one of their paths."""

    def describe(_: ServedModel) -> dict[str, Operation]:
        summary, text = f"Metrics for Prometheus{where}", {"type": "string"}
        described = describe_get("monitoring", name, summary, text, "text/plain", KEY_ERRORS)
        described["get"]["security"] = KEY_IF_SET
        described["get"]["responses"]["200"]["content"]["application/openmetrics-text"] = {
            "schema": text
        }
        return described

    return describe


def describe_events(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /events`."""
    summary, text = "Live statistics (server-sent events)", {"type": "string"}
    errors = [*KEY_ERRORS, "too-many-connections", "draining"]
    described = describe_get("monitoring", "events", summary, text, "text/event-stream", errors)
    described["get"]["security"] = KEY_IF_SET
    return described


def describe_openapi(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /openapi.json`."""
    schema: Schema = {"type": "object"}
    return describe_get("documentation", "openapi", "This document", schema, errors=["loading"])


def describe_root(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /`."""
    described = describe_get(
        "documentation", "index", "Start page", {"type": "string"}, "text/html"
    )
    alive = {
        "type": "object",
        "required": ["status", "name", "version"],
        "properties": {"status": {"const": "alive"}},
    }
    described["get"]["description"] = "HTML if the Accept header names it, otherwise JSON."
    described["get"]["responses"]["200"]["content"][MEDIA_TYPE] = {"schema": alive}
    return described


def describe_page(name: str, summary: str) -> Callable[[ServedModel], dict[str, Operation]]:
    """Return the function that describes an HTML page."""
    return lambda _: describe_get("documentation", name, summary, {"type": "string"}, "text/html")


def describe_problem_page(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /problems/{slug}`."""
    slugs = sorted(problem.slug for problem in PROBLEMS.values())
    parameter = path_parameter("slug", {"type": "string", "examples": slugs})
    summary, text = "Explanation of a problem type", {"type": "string"}
    described = describe_get("documentation", "problem", summary, text, "text/html", ["not-found"])
    return {"get": {"parameters": [parameter], **described["get"]}}


def describe_asset(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /static/{file}`."""
    parameter = path_parameter("file", text_like("pages.css"))
    summary, text = "A file of the pages", {"type": "string"}
    described = describe_get("documentation", "asset", summary, text, "*/*", ["not-found"])
    return {"get": {"parameters": [parameter], **described["get"]}}


def describe_get(
    tag: str,
    name: str,
    summary: str,
    schema: Schema,
    media_type: str = MEDIA_TYPE,
    errors: Iterable[str] = (),
    respond: Callable[[Iterable[str]], dict[str, Any]] = problem_responses,
) -> dict[str, Operation]:
    """Return a GET operation, with 405 for other methods among its errors.

    `respond` describes the errors: as problem documents, or as plain ones below `/v1` and `/v2`.
    """
    answer = {
        "description": summary,
        "headers": refs("headers", "X-Request-ID"),
        "content": {media_type: {"schema": schema}},
    }
    operation = {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "responses": {"200": answer, **respond([*errors, "method-not-allowed"])},
    }
    return {"get": operation}
