"""Parts of schemas that occur often are written once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.signature import Signature, TensorSpec
from server.config import PredictSettings
from server.dialects.table import Dialects
from server.openapi.shared_schemas import share

KEYWORD_NAMES = ("items", "properties", "anyOf", "$ref", "type")


def signature(count: int, shape: tuple[int | None, ...] = (1,)) -> Signature:
    names = [*KEYWORD_NAMES, *(f"input_{n}" for n in range(count))][:count]
    inputs = tuple(TensorSpec(name, shape, "float32") for name in names)
    return Signature(inputs, tuple(TensorSpec(f"o{n}", (3, None), "int32") for n in range(count)))


def schemas_of(count: int, shape: tuple[int | None, ...] = (1,)) -> dict[str, Any]:
    dialects = Dialects("m", "1", signature(count, shape), PredictSettings()).by_name
    return {
        f"{name}{side}": schema
        for name, dialect in dialects.items()
        for side, schema in (("Request", dialect.schema), ("Answer", dialect.answer_schema))
    }


def inlined(schemas: dict[str, Any], node: Any) -> Any:
    """Return a schema with everything in it that it refers to."""
    if isinstance(node, list):
        return [inlined(schemas, each) for each in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        return inlined(schemas, schemas[node["$ref"].rpartition("/")[2]])
    return {key: inlined(schemas, value) for key, value in node.items()}


@pytest.mark.parametrize("shape", [(), (1,), (None, 2), (224, 224, 3)], ids=str)
@pytest.mark.parametrize("count", [1, 2, 30])
def test_what_they_accept_stays_the_same(count: int, shape: tuple[int | None, ...]) -> None:
    schemas = schemas_of(count, shape)
    shared = share(schemas)

    for name, schema in schemas.items():
        assert inlined(shared, shared[name]) == schema


def test_few_inputs_share_nothing() -> None:
    schemas = schemas_of(1)

    assert share(schemas) == schemas


def test_many_inputs_share_what_they_have_in_common() -> None:
    schemas = schemas_of(100, (8, 8, 3))
    shared = share(schemas)

    assert shared.keys() > schemas.keys()
    assert len(json.dumps(shared)) < len(json.dumps(schemas)) / 2


def test_equal_schemas_refer_to_the_first_one() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    shared = share({"One": schema, "Two": dict(schema), "Three": {"type": "array"}})

    assert shared["One"] == schema
    assert shared["Two"] == {"$ref": "#/components/schemas/One"}
    assert shared["Three"] == {"type": "array"}


def test_numbers_and_booleans_are_told_apart() -> None:
    shared = share({"One": {"const": 1}, "Two": {"const": True}, "Three": {"const": 1.0}})

    assert [shared[name]["const"] for name in ("One", "Two", "Three")] == [1, True, 1.0]
    assert type(shared["Two"]["const"]) is bool
