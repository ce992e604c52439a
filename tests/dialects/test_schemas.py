"""No schema of the service is expensive to validate, or refers to other documents.

A model's file names its inputs, and clients choose what is held against the schemas: `pattern` can
be slow on what they send, `uniqueItems` compares all with all, and a remote `$ref` is a request to
somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from model.signature import Signature, TensorSpec
from server.config import PredictSettings
from server.config.schema import SCHEMA
from server.dialects.table import Dialects
from tests.support.harness import FakeModel, over_http, serving

DTYPES = ["bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "float32", "float64"]
NAMES = ["x", "$ref", "pattern", "uniqueItems", "https://evil.example/schema.json", "#/a~1b"]
HARD = {"pattern", "patternProperties", "uniqueItems", "unevaluatedItems", "unevaluatedProperties"}
ELSEWHERE = {"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"}

OF_MANY = ("anyOf", "allOf", "oneOf", "prefixItems")
OF_ONE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
BY_NAME = ("properties", "$defs", "dependentSchemas")


def specs() -> Iterator[TensorSpec]:
    for dtype in [*DTYPES, "string"]:
        for shape in ((), (1,), (3,), (None,), (2, None, 3)):
            yield TensorSpec("x", shape, dtype)
    for name in NAMES:
        yield TensorSpec(name, (2,), "float32")


SIGNATURES = [
    *(Signature((spec,), (spec,)) for spec in specs()),
    Signature(
        tuple(TensorSpec(name, (1,), "float32") for name in NAMES),
        tuple(TensorSpec(name, (2,), "float32") for name in reversed(NAMES)),
    ),
]


def schemas_in(schema: Any) -> Iterator[dict[str, Any]]:
    """Return a schema and all schemas within it; names of properties are not keywords."""
    if not isinstance(schema, dict):
        return
    yield schema
    for keyword, value in schema.items():
        if keyword in OF_MANY:
            parts = value
        elif keyword in OF_ONE:
            parts = [value]
        elif keyword in BY_NAME:
            parts = value.values()
        else:
            parts = []
        for part in parts:
            yield from schemas_in(part)


def faults_of(schema: Any) -> list[str]:
    """Return the forbidden keywords in a schema."""
    found = []
    for each in schemas_in(schema):
        found += sorted(each.keys() & (HARD | ELSEWHERE))
        reference = each.get("$ref", "#/")
        if not reference.startswith("#/"):
            found.append(f"$ref to {reference}")
    return found


def roots_of(node: Any) -> Iterator[Any]:
    """Return all schemas of an OpenAPI document."""
    if isinstance(node, list):
        for each in node:
            yield from roots_of(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "schema":
                yield value
            elif key == "schemas":
                yield from value.values()
            elif key not in ("example", "examples"):
                yield from roots_of(value)


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda s: str(s.inputs[0])[:60])
def test_schemas_of_requests_and_answers_are_allowed_ones(signature: Signature) -> None:
    dialects = Dialects("m", "1", signature, PredictSettings())

    for dialect in dialects.by_name.values():
        assert faults_of(dialect.schema) == []
        assert faults_of(dialect.answer_schema) == []


@over_http
async def test_schemas_of_the_documentation_are_allowed_ones() -> None:
    for signature in (SIGNATURES[0], SIGNATURES[-1]):
        async with serving(FakeModel(signature)) as server:
            document = (await server.ask("GET", "/openapi.json")).json
        roots = list(roots_of(document))

        assert len(roots) > 50
        assert [fault for root in roots for fault in faults_of(root)] == []


def test_a_wrong_schema_would_be_found() -> None:
    hidden = {"properties": {"a": {"items": {"anyOf": [{"$ref": "https://evil.example/a.json"}]}}}}

    assert faults_of(hidden) == ["$ref to https://evil.example/a.json"]
    assert "pattern" in faults_of(SCHEMA)  # the settings are not from clients
