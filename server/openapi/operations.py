"""One function a route: what it takes and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from server.dialects.native import npy
from server.dialects.native.dialect import MEDIA_TYPE
from server.dialects.table import NATIVE, TFSERVING, V2, Kind
from server.dialects.v2 import dialect as v2
from server.openapi.parts import (
    KEY,
    KEY_IF_SET,
    KEY_REFUSALS,
    PARAMETERS,
    RARE,
    SICK,
    Operation,
    Schema,
    content,
    flag,
    in_bytes,
    path_parameter,
    plain_responses,
    problem_responses,
    refs,
    text_like,
)
from server.problems import PROBLEMS
from server.serving.served_model import ServedModel


def describe_predictions(kind: Kind, path: str) -> Callable[[ServedModel], dict[str, Operation]]:
    """Return what describes `POST` of predictions at a path of a dialect."""
    named = [name for name in ("name", "version") if f"{{{name}}}" in path]

    def describe(model: ServedModel) -> dict[str, Operation]:
        described = DESCRIBED[kind.name](model, "NamedPredict" if named else "Predict")
        operation = described["post"]
        operation["operationId"] = "-".join(
            ["predict", kind.name, *named] if named else ["predict"]
        )
        values = {"name": model.name, "version": model.version}
        operation["parameters"] = [
            *(path_parameter(name, text_like(values[name])) for name in named),
            *operation["parameters"],
        ]
        return described

    return describe


def describe_native_predictions(model: ServedModel, schema: str) -> dict[str, Operation]:
    """Describe predictions in the native dialect, with schemas called so."""
    refusals = [
        *("invalid-request", "invalid-json", *KEY_REFUSALS, "unknown-model", "not-found"),
        *("method-not-allowed", "body-too-large"),
        *("too-many-rows", "unsupported-media-type", "invalid-data", "model-failed"),
        *("non-finite-output", "internal-error", "overloaded", "loading", "draining"),
        *("model-stuck", "too-many-connections", "deadline-exceeded"),
    ]
    arrays = in_bytes(npy.MEDIA_TYPE) if npy.can_say(model.signature) else {}
    answer = {
        "description": "One prediction for one example, a list in the same order for a batch.",
        "headers": refs("headers", "X-Request-ID", "X-Model-Version", "Server-Timing"),
        "content": {
            **content(f"{schema}Answer", {e.summary: e.answer for e in model.examples}),
            **arrays,
        },
    }
    operation = {
        "tags": ["predictions"],
        "security": KEY_IF_SET,
        "summary": "Predict one example, or a batch of them",
        "description": (
            "Requests that wait at the same time are computed together. Where a model has one "
            "input and one output of numbers, they can be arrays in numpy's own format."
        ),
        "parameters": list(PARAMETERS),  # apispec makes references of names
        "requestBody": {
            "required": True,
            "content": {
                **content(f"{schema}Request", {e.summary: e.request for e in model.examples}),
                **arrays,
            },
        },
        "responses": {"200": answer, **problem_responses(refusals)},
    }
    return {"post": operation}


def describe_tfserving_predictions(model: ServedModel, _: str) -> dict[str, Operation]:
    """Describe predictions in the dialect of TensorFlow Serving."""
    text = "Rows in `instances` are answered in `predictions`, columns in `inputs` in `outputs`."
    return describe_plain_predictions(model, TFSERVING, "TFServing", text)


def describe_v2_predictions(model: ServedModel, _: str) -> dict[str, Operation]:
    """Describe predictions in the Open Inference Protocol."""
    text = (
        "Tensors with their names, shapes and datatypes; behind the JSON they can also come, and "
        "be asked for, in bytes (Triton's binary tensor data extension)."
    )
    described = describe_plain_predictions(model, V2, "V2", text)
    for body in (described["post"]["requestBody"], described["post"]["responses"]["200"]):
        body["content"] |= in_bytes(v2.BINARY)
    return described


def describe_plain_predictions(
    model: ServedModel, kind: Kind, schema: str, description: str
) -> dict[str, Operation]:
    """Describe predictions in a dialect whose errors are plain."""
    dialect = model.dialects.by_name[kind.name]
    refusals = [problem.slug for problem in PROBLEMS.values() if problem.slug not in RARE]
    example = {"two rows": dialect.example(2)} if model.examples else {}
    answer = {
        "description": "The prediction.",
        "headers": refs("headers", "X-Request-ID", "X-Model-Version", "Server-Timing"),
        "content": content(f"{schema}Answer", {}),
    }
    operation = {
        "tags": ["predictions"],
        "security": KEY_IF_SET,
        "summary": f"Predict, in the dialect {kind.name}",
        "description": description,
        "parameters": list(PARAMETERS),
        "requestBody": {"required": True, "content": content(f"{schema}Request", example)},
        "responses": {"200": answer, **plain_responses(refusals)},
    }
    return {"post": operation}


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
    return describe_get("models", "server-metadata", "Which server this is", schema)


def describe_all_statistics(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /v2/models/stats`."""
    schema = {
        "type": "object",
        "required": ["model_stats"],
        "properties": {"model_stats": {"type": "array", "items": {"type": "object"}}},
    }
    described = describe_get("models", "all-statistics", "What all models have done", schema)
    described["get"]["security"] = KEY_IF_SET
    described["get"]["responses"] |= plain_responses(KEY_REFUSALS)
    return described


def describe_model_document(
    name: str, version: str, summary: str
) -> Callable[[ServedModel], dict[str, Operation]]:
    """Describe a document about a model, or about one version of it."""

    def describe(model: ServedModel) -> dict[str, Operation]:
        operation_id = f"version-{name}" if version else f"model-{name}"
        schema: Schema = {"type": "object"}
        described = describe_get("models", operation_id, summary, schema)
        refusals = ["unknown-model", "loading", "method-not-allowed"]
        if name == "ready":
            refusals += SICK
        if name == "statistics":
            refusals += KEY_REFUSALS
            described["get"]["security"] = KEY_IF_SET
        described["get"]["responses"] |= plain_responses(refusals)
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
    body = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    described = describe_repository_call(
        "index",
        "Which models and versions there are, with `ready` only those that answer",
        body,
        ["invalid-json", "invalid-request"],
        {"type": "array", "items": line},
    )
    described["post"]["security"] = KEY_IF_SET
    return described


def describe_load(model: ServedModel) -> dict[str, Operation]:
    """Describe `POST /v2/repository/models/{name}/load`."""
    rollback = {"type": "boolean", "description": "Serve again what was served before."}
    return describe_model_change(
        model, "load", "Load what is new of a model, or roll it back", {"rollback": rollback}
    )


def describe_unload(model: ServedModel) -> dict[str, Operation]:
    """Describe `POST /v2/repository/models/{name}/unload`."""
    dependents = {"description": "Without a meaning here, where no model depends on another."}
    return describe_model_change(
        model, "unload", "Serve a model no longer", {"unload_dependents": dependents}
    )


def describe_model_change(
    model: ServedModel, name: str, summary: str, parameters: Schema
) -> dict[str, Operation]:
    """Describe a call of the repository that changes a model."""
    parameters_schema = {
        "type": "object",
        "properties": parameters,
        "additionalProperties": False,
    }
    body = {"type": "object", "properties": {"parameters": parameters_schema}}
    refusals = ["invalid-json", "invalid-request", "load-failed", "forbidden"]
    described = describe_repository_call(
        name, summary, body, [*refusals, "unknown-model", "draining"], {"type": "object"}
    )
    described["post"]["parameters"] = [path_parameter("name", text_like(model.name))]
    described["post"]["security"] = KEY
    return described


def describe_repository_call(
    name: str, summary: str, body: Schema, refusals: list[str], answer: Schema
) -> dict[str, Operation]:
    """Describe a call of the repository."""
    operation = describe_get("repository", f"repository-{name}", summary, answer)["get"]
    plain = plain_responses([*refusals, *KEY_REFUSALS, "body-too-large", "method-not-allowed"])
    operation["responses"] |= plain
    operation["requestBody"] = {"required": False, "content": {MEDIA_TYPE: {"schema": body}}}
    return {"post": operation}


def describe_liveness(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /v2/health/live`."""
    summary = "Whether the process is alive"
    return describe_get("health", "live", summary, flag("live"), refusals=["model-stuck"])


def describe_readiness(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /v2/health/ready`."""
    schema = flag("ready")
    text = {"type": "string"}
    state = {"enum": ["LOADING", "READY", "UNAVAILABLE"]}
    failure = {**text, "description": "Why the last attempt to load it failed."}
    model = {
        "type": "object",
        "required": ["name", "version", "state"],
        "properties": {"name": text, "version": text, "state": state, "failure": failure},
        "additionalProperties": False,
    }
    models = {"type": "array", "items": model}
    schema["properties"] |= {"model": text, "version": text, "models": models}
    summary = "Whether predictions can be asked for"
    return describe_get("health", "ready", summary, schema, refusals=["loading", "draining", *SICK])


def describe_metrics(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /metrics`."""
    summary, text = "What was counted, for Prometheus", {"type": "string"}
    described = describe_get("monitoring", "metrics", summary, text, "text/plain", KEY_REFUSALS)
    described["get"]["security"] = KEY_IF_SET
    described["get"]["responses"]["200"]["content"]["application/openmetrics-text"] = {
        "schema": text
    }
    return described


def describe_events(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /events`."""
    summary, text = "How the service fares, once a second", {"type": "string"}
    refusals = [*KEY_REFUSALS, "too-many-connections", "draining"]
    described = describe_get("monitoring", "events", summary, text, "text/event-stream", refusals)
    described["get"]["security"] = KEY_IF_SET
    return described


def describe_openapi(_: ServedModel) -> dict[str, Operation]:
    """Describe `GET /openapi.json`."""
    schema: Schema = {"type": "object"}
    return describe_get("documentation", "openapi", "This document", schema, refusals=["loading"])


def describe_page(name: str, summary: str) -> Callable[[ServedModel], dict[str, Operation]]:
    """Describe a page of HTML."""
    return lambda _: describe_get("documentation", name, summary, {"type": "string"}, "text/html")


def describe_problem_page(_: ServedModel) -> dict[str, Operation]:
    """Describe the pages that explain problems."""
    slugs = sorted(problem.slug for problem in PROBLEMS.values())
    parameter = path_parameter("slug", {"type": "string", "examples": slugs})
    summary, text = "What a type of problem means", {"type": "string"}
    described = describe_get("documentation", "problem", summary, text, "text/html", ["not-found"])
    return {"get": {"parameters": [parameter], **described["get"]}}


def describe_asset(_: ServedModel) -> dict[str, Operation]:
    """Describe the files that pages load."""
    parameter = path_parameter("file", text_like("pages.css"))
    summary, text = "A file that pages load", {"type": "string"}
    described = describe_get("documentation", "asset", summary, text, "*/*", ["not-found"])
    return {"get": {"parameters": [parameter], **described["get"]}}


def describe_get(
    tag: str,
    name: str,
    summary: str,
    schema: Schema,
    media_type: str = MEDIA_TYPE,
    refusals: Iterable[str] = (),
) -> dict[str, Operation]:
    """Return a GET operation; every path refuses other methods."""
    answer = {
        "description": summary,
        "headers": refs("headers", "X-Request-ID"),
        "content": {media_type: {"schema": schema}},
    }
    operation = {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "responses": {"200": answer, **problem_responses([*refusals, "method-not-allowed"])},
    }
    return {"get": operation}


DESCRIBED: Mapping[str, Callable[[ServedModel, str], dict[str, Operation]]] = {
    NATIVE.name: describe_native_predictions,
    TFSERVING.name: describe_tfserving_predictions,
    V2.name: describe_v2_predictions,
}
