"""The OpenAPI document of the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import apispec

from server import __version__
from server.dialects.table import NATIVE, TFSERVING, V2, DialectEntry
from server.openapi.examples import all_bodies
from server.openapi.parts import (
    ERROR_SCHEMA,
    HEADERS,
    KEY_SCHEMES,
    PARAMETERS,
    PROBLEM_SCHEMA,
    Operation,
    Schema,
    any_of,
    problem_example,
)
from server.openapi.shared_schemas import share
from server.problems import PROBLEMS
from server.serving.served_model import ServedModel

OPENAPI_VERSION = "3.1.0"
ROOT: Final = "/"  # the address of the service, where nothing else is known
MAX_DOCUMENT_BYTES: Final = 300_000
LEFT_OUT: Final[Schema] = {
    "type": "object",
    "description": "Too long to show. `GET /v2/models/{name}` lists the inputs and outputs.",
}


class Documented(Protocol):
    """A route with a description."""

    @property
    def path(self) -> str:
        """The path in OpenAPI's notation."""

    @property
    def describe(self) -> Callable[[ServedModel], dict[str, Operation]]:
        """The function that returns its operations, by method."""


class Detail(NamedTuple):
    """How much of the schemas a document has.

    Attributes:
        dialects: the dialects whose schemas of the default model it has.
        others: whether it has the schemas of the other models.
    """

    dialects: frozenset[str]
    others: bool


FULL: Final = Detail(frozenset({NATIVE.name, TFSERVING.name, V2.name}), others=True)
# Tried in this order, until the document is short enough.
DETAILS: Final = (
    FULL,
    FULL._replace(others=False),
    Detail(frozenset({NATIVE.name, TFSERVING.name}), others=False),
    Detail(frozenset({NATIVE.name}), others=False),
    Detail(frozenset(), others=False),
)


def document_of(
    routes: Iterable[Documented], model: ServedModel, others: Sequence[ServedModel] = ()
) -> bytes:
    """Return the document as JSON of at most MAX_DOCUMENT_BYTES.

    Where a model has so many inputs that it would be longer, some schemas are left out.
    """
    routes = list(routes)
    for detail in DETAILS:
        spec = describe_service(routes, model, others, detail)
        text = json.dumps(spec, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= MAX_DOCUMENT_BYTES:
            break
    return text


def describe_service(
    routes: Iterable[Documented],
    model: ServedModel,
    others: Sequence[ServedModel] = (),
    detail: Detail = FULL,
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
        servers=[{"url": ROOT}],
        tags=[
            {"name": "predictions", "description": "Predictions in three protocols."},
            {"name": "models", "description": "Metadata, readiness and statistics of models."},
            {"name": "repository", "description": "List, load, roll back and unload models."},
            {"name": "health", "description": "Liveness and readiness of the service."},
            {"name": "monitoring", "description": "Metrics and live statistics."},
            {"name": "documentation", "description": "Pages, and this document."},
        ],
    )
    add_components(spec, model)
    for name, schema in share(schemas_of(model, others, detail)).items():
        spec.components.schema(name, schema)
    for route in routes:
        spec.path(path=route.path, operations=route.describe(model))
    return spec.to_dict()


def schemas_of(
    model: ServedModel, others: Sequence[ServedModel], detail: Detail
) -> dict[str, Schema]:
    """Return the schemas of requests and answers by name, as far as `detail` asks for them."""

    def pair(each: ServedModel, entry: DialectEntry) -> tuple[Schema, Schema]:
        if entry.name not in detail.dialects or (each is not model and not detail.others):
            return LEFT_OUT, LEFT_OUT
        dialect = each.dialects.by_name[entry.name]
        return dialect.schema, dialect.answer_schema

    request, answer = pair(model, NATIVE)
    schemas = {"PredictRequest": request, "PredictAnswer": answer}
    for prefix, entry in (("NamedPredict", NATIVE), ("TFServing", TFSERVING), ("V2", V2)):
        requests, answers = zip(*(pair(each, entry) for each in (model, *others)), strict=True)
        schemas[f"{prefix}Request"] = any_of(requests)
        schemas[f"{prefix}Answer"] = any_of(answers)
    return schemas


def add_components(spec: apispec.APISpec, model: ServedModel) -> None:
    """Add the schemas of errors, and the examples, headers and parameters of operations."""
    for name, example in all_bodies(model).items():
        spec.components.example(name, example)
    for problem in PROBLEMS.values():
        spec.components.example(problem.slug, problem_example(problem))
    spec.components.schema("Problem", PROBLEM_SCHEMA)
    spec.components.schema("Error", ERROR_SCHEMA)
    for name, scheme in KEY_SCHEMES.items():
        spec.components.security_scheme(name, scheme)
    for name, (schema, text) in HEADERS.items():
        spec.components.header(name, {"schema": schema, "description": text})
    for name, (schema, text) in PARAMETERS.items():
        parameter = {"name": name, "schema": schema, "description": text}
        spec.components.parameter(name, "header", parameter)
