"""The OpenAPI document of the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import apispec

from server import __version__
from server.dialects.table import TFSERVING, V2
from server.openapi.parts import (
    ERROR_SCHEMA,
    HEADERS,
    KEY_SCHEMES,
    PARAMETERS,
    PROBLEM_SCHEMA,
    Operation,
    any_of,
)
from server.serving.served_model import ServedModel

OPENAPI_VERSION = "3.1.0"


class Documented(Protocol):
    """A route with a description."""

    @property
    def path(self) -> str:
        """The path in OpenAPI's notation."""

    @property
    def describe(self) -> Callable[[ServedModel], dict[str, Operation]]:
        """The function that returns its operations, by method."""


def describe_service(
    routes: Iterable[Documented], model: ServedModel, others: Sequence[ServedModel] = ()
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of `routes`; its schemas are the ones that validate requests.

    `model` is the default model, `others` are the other models that are served.
    """
    spec = apispec.APISpec(
        title=f"Predictions of {model.name}",
        version=__version__,
        openapi_version=OPENAPI_VERSION,
        info={
            "summary": f"HTTP API of the model {model.name}, version {model.version}.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        servers=[{"url": "/"}],
        tags=[
            {"name": "predictions", "description": "Predictions in three protocols."},
            {"name": "models", "description": "Metadata, readiness and statistics of models."},
            {"name": "repository", "description": "List, load, roll back and unload models."},
            {"name": "health", "description": "Liveness and readiness of the service."},
            {"name": "monitoring", "description": "Metrics and live statistics."},
            {"name": "documentation", "description": "Pages, and this document."},
        ],
    )
    add_components(spec, model, others)
    for route in routes:
        spec.path(path=route.path, operations=route.describe(model))
    return spec.to_dict()


def text_of(spec: dict[str, Any]) -> str:
    """Return a document as JSON text."""
    return json.dumps(spec, indent=2, ensure_ascii=False) + "\n"


def add_components(
    spec: apispec.APISpec, model: ServedModel, others: Sequence[ServedModel]
) -> None:
    """Add the schemas, headers and parameters that operations refer to."""
    dialects = [each.dialect for each in (model, *others)]
    spec.components.schema("PredictRequest", model.dialect.schema)
    spec.components.schema("PredictAnswer", model.dialect.answer_schema)
    spec.components.schema("NamedPredictRequest", any_of([each.schema for each in dialects]))
    spec.components.schema("NamedPredictAnswer", any_of([each.answer_schema for each in dialects]))
    for name, entry in (("TFServing", TFSERVING), ("V2", V2)):
        each_dialect = [each.dialects.by_name[entry.name] for each in (model, *others)]
        spec.components.schema(f"{name}Request", any_of([d.schema for d in each_dialect]))
        spec.components.schema(f"{name}Answer", any_of([d.answer_schema for d in each_dialect]))
    spec.components.schema("Problem", PROBLEM_SCHEMA)
    spec.components.schema("Error", ERROR_SCHEMA)
    for name, scheme in KEY_SCHEMES.items():
        spec.components.security_scheme(name, scheme)
    for name, (schema, text) in HEADERS.items():
        spec.components.header(name, {"schema": schema, "description": text})
    for name, (schema, text) in PARAMETERS.items():
        parameter = {"name": name, "schema": schema, "description": text}
        spec.components.parameter(name, "header", parameter)
