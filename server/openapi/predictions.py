"""The description of `POST` of predictions, in each dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from server.dialects.native import npy
from server.dialects.native.dialect import RAW
from server.dialects.table import NATIVE, TFSERVING, V2, DialectEntry
from server.dialects.v2 import dialect as v2
from server.openapi import pictures
from server.openapi.examples import bodies_of, instead_of_examples
from server.openapi.parts import (
    KEY_ERRORS,
    KEY_IF_SET,
    NEVER_FOR_PREDICTIONS,
    PARAMETERS,
    Operation,
    binary_content,
    content,
    path_parameter,
    plain_responses,
    problem_responses,
    refs,
    text_like,
)
from server.problems import PROBLEMS
from server.serving.served_model import ServedModel

NATIVE_ERRORS = [
    *("invalid-request", "invalid-json", *KEY_ERRORS, "unknown-model", "not-found"),
    *("method-not-allowed", "body-too-large", "late-headers", "late-body", "headers-too-large"),
    *("too-many-rows", "unsupported-media-type", "invalid-data", "model-failed"),
    *("non-finite-output", "decoder-failed", "internal-error", "overloaded", "loading"),
    *("draining", "model-unavailable", "too-many-connections", "arriving-bodies"),
    "unread-answers",
    "deadline-exceeded",
]
RAW_PARAMETER: dict[str, Any] = {
    "name": RAW,
    "in": "query",
    "schema": {"type": "boolean", "default": False},
    "description": "`true`: the answer has the numbers of all outputs, without labels.",
}
_FILES = ' Pictures are `{"b64": "…"}`.'
PLAIN_ERRORS = [each.slug for each in PROBLEMS.values() if each.slug not in NEVER_FOR_PREDICTIONS]


def describe_predictions(
    entry: DialectEntry, path: str
) -> Callable[[ServedModel], dict[str, Operation]]:
    """Return the function that describes `POST` of predictions at a path of a dialect."""
    named = [name for name in ("name", "version") if f"{{{name}}}" in path]

    def describe(model: ServedModel) -> dict[str, Operation]:
        operation = DESCRIBE[entry.name](model, "NamedPredict" if named else "Predict")
        operation["operationId"] = "-".join(
            ["predict", entry.name, *named] if named else ["predict"]
        )
        values = {"name": model.name, "version": model.version}
        operation["parameters"] = [
            *(path_parameter(name, text_like(values[name])) for name in named),
            *operation["parameters"],
        ]
        return {"post": operation}

    return describe


def describe_native(model: ServedModel, schema: str) -> Operation:
    """Describe predictions in the native dialect; `schema` begins the names of its schemas."""
    arrays = binary_content(npy.MEDIA_TYPE) if npy.supports(model.signature) else {}
    text = "Concurrent requests are batched into one model call."
    if arrays:
        text += f" Arrays in NumPy's format (`{npy.MEDIA_TYPE}`) are accepted, too."
    if told := pictures.about(model):
        text += f" {told}"
    if model.dialect.labels:
        text += f" Outputs have labels: {about_labels(model)}."
    text = "\n\n".join(filter(None, [text, instead_of_examples(model)]))
    described = prediction(
        "Predict one example or a batch",
        text,
        content(f"{schema}Request", bodies_of(model, NATIVE, "request"))
        | arrays
        | pictures.content_of(model),
        "One prediction for one example; for a batch, a list of predictions in the same order.",
        content(f"{schema}Answer", bodies_of(model, NATIVE, "answer")) | arrays,
        problem_responses(NATIVE_ERRORS),
    )
    if model.dialect.labels:
        described["parameters"] += [RAW_PARAMETER]
    return described


def about_labels(model: ServedModel) -> str:
    """Return how the outputs of a model are answered as labels."""
    return ", ".join(
        f"`{name}` is answered as at most {labels.top_k} of {len(labels.names)}"
        for name, labels in model.dialect.labels.items()
    )


def describe_tfserving(model: ServedModel, _: str) -> Operation:
    """Describe predictions in the dialect of TensorFlow Serving."""
    return prediction(
        "Predict (TensorFlow Serving)",
        "Rows in `instances` are answered in `predictions`, columns in `inputs` in `outputs`."
        f"{_FILES if model.dialects.pictures else ''}",
        content("TFServingRequest", bodies_of(model, TFSERVING, "request")),
        "The predictions.",
        content("TFServingAnswer"),
        plain_responses(PLAIN_ERRORS),
    )


def describe_v2(model: ServedModel, _: str) -> Operation:
    """Describe predictions in the Open Inference Protocol."""
    binary = binary_content(v2.BINARY)
    text = (
        "Tensors with their names, shapes and datatypes. The data of a tensor is in the JSON, or "
        "binary after it (Triton's binary tensor data extension)."
    )
    signature = model.signature
    if any(spec.dtype == "string" for spec in (*signature.inputs, *signature.outputs)):
        text += " With the parameter `content_type: base64`, elements of BYTES are base64."
    if model.dialects.pictures:
        text += " Pictures are elements of BYTES: files in binary, base64 in JSON."
    return prediction(
        "Predict (Open Inference Protocol)",
        text,
        content("V2Request", bodies_of(model, V2, "request")) | binary,
        "The predictions.",
        content("V2Answer") | binary,
        plain_responses(PLAIN_ERRORS),
    )


def prediction(
    summary: str,
    description: str,
    request: dict[str, Any],
    answer_description: str,
    answer: dict[str, Any],
    errors: dict[str, Any],
) -> Operation:
    """Return an operation that predicts; `request` and `answer` are the contents of bodies."""
    return {
        "tags": ["predictions"],
        "security": KEY_IF_SET,
        "summary": summary,
        "description": description,
        "parameters": list(PARAMETERS),  # apispec makes references of names
        "requestBody": {"required": True, "content": request},
        "responses": {
            "200": {
                "description": answer_description,
                "headers": refs(
                    "headers",
                    *("X-Request-ID", "X-Model-Version", "X-Model-Engine", "Server-Timing"),
                ),
                "content": answer,
            },
            **errors,
        },
    }


DESCRIBE: Mapping[str, Callable[[ServedModel, str], Operation]] = {
    NATIVE.name: describe_native,
    TFSERVING.name: describe_tfserving,
    V2.name: describe_v2,
}
