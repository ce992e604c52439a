"""Requests generated from the server's schema."""

from __future__ import annotations

from random import Random

import jsonschema
import numpy as np
import pytest

from server.loadtest import payload as payload_module
from server.loadtest.payload import Payload, PayloadError, draw_pool, encode

NUMBER = {"type": "number"}
IDS = {"type": "integer", "format": "int32", "minimum": 0, "maximum": 4}


def array(items, size=None):
    """Return the schema of an array of a fixed size, or of any size."""
    sizes = {"minItems": size, "maxItems": size} if size else {"minItems": 1}
    return {"type": "array", "items": items, **sizes}


def document(single, batch, **components):
    """Return an OpenAPI document of one path that takes an example or a batch."""
    body = {
        "type": "object",
        "required": ["data"],
        "properties": {"data": {"anyOf": [single, batch]}},
        "additionalProperties": False,
    }
    content = {"application/json": {"schema": body}}
    return {
        "openapi": "3.1.0",
        "paths": {"/predict": {"post": {"requestBody": {"content": content}}}, "/docs": {}},
        "components": {"schemas": components},
    }


def named(form, **members):
    """Return the schema of an object with named inputs."""
    properties = {name: form(schema) for name, schema in members.items()}
    return {"type": "object", "properties": properties, "required": list(members)}


DOCUMENTS = {
    "one number": document(array(NUMBER, 1), array(array(NUMBER, 1))),
    "text": document(array({"type": "string"}, 2), array(array({"type": "string"}, 2))),
    "a scalar": document(NUMBER, array(NUMBER)),
    "a matrix": document(array(array(NUMBER, 3), 2), array(array(array(NUMBER, 3), 2))),
    "variable sizes": document(array(array(NUMBER)), array(array(array(NUMBER)))),
    "the batch first": document(array(array(NUMBER, 2)), array(NUMBER, 2)),
    "named": document(
        named(lambda each: array(each, 2), user=IDS, item=NUMBER),
        named(lambda each: array(array(each, 2)), user=IDS, item=NUMBER),
    ),
    "bounds": document(
        array({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-6}, 4),
        array(array({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-6}, 4)),
    ),
    "far bounds": document(
        array({"type": "integer", "minimum": 5000, "maximum": 2**31}, 4),
        array(array({"type": "integer", "minimum": 5000, "maximum": 2**31}, 4)),
    ),
    "one allowed value": document(
        array({"type": "integer", "minimum": 5, "maximum": 5}, 2),
        array(array({"type": "integer", "minimum": 5, "maximum": 5}, 2)),
    ),
    "references": document(
        {"$ref": "#/components/schemas/Row"},
        {"type": "array", "items": {"$ref": "#/components/schemas/Row"}},
        Row=array({"$ref": "#/components/schemas/Cell"}, 2),
        Cell=NUMBER,
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("rows", [1, 3])
def test_generated_requests_are_valid(name, rows):
    """They match the schema that they are generated from."""
    spec = DOCUMENTS[name]
    body = spec["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    validator = jsonschema.Draft202012Validator(
        {**body["schema"], "components": spec["components"]}
    )

    for seed in range(20):
        validator.validate({"data": Payload(spec, "/predict").draw(Random(seed), rows)})


@pytest.mark.parametrize(
    "name, rows, shape",
    [
        ("one number", 1, (1,)),
        ("one number", 2, (2, 1)),
        ("a scalar", 1, ()),
        ("a scalar", 2, (2,)),
        ("a matrix", 1, (2, 3)),
        ("a matrix", 5, (5, 2, 3)),
        ("the batch first", 1, (2,)),
        ("references", 4, (4, 2)),
    ],
)
def test_one_row_is_a_single_example_and_more_are_a_batch(name, rows, shape):
    """The two are told apart by their number of dimensions, not by their order in the schema."""
    assert np.shape(Payload(DOCUMENTS[name], "/predict").draw(Random(0), rows)) == shape


def test_all_named_inputs_have_the_same_number_of_rows():
    data = Payload(DOCUMENTS["named"], "/predict").draw(Random(0), rows=3)

    assert {name: np.shape(rows) for name, rows in data.items()} == {
        "user": (3, 2),
        "item": (3, 2),
    }


def test_variable_sizes_vary_between_requests_but_not_within_one():
    """All rows of a request have the same shape."""
    payload = Payload(DOCUMENTS["variable sizes"], "/predict")
    shapes = {np.shape(payload.draw(Random(seed), rows=3)) for seed in range(100)}

    assert {len(shape) for shape in shapes} == {3}
    assert {shape[1] for shape in shapes} == {shape[2] for shape in shapes} == set(range(1, 9))


def test_numbers_are_unchanged_as_float32():
    """A float32 is printed with the same digits as the generated number."""
    pool = draw_pool(Payload(DOCUMENTS["one number"], "/predict"), 1000, 1, seed=0)

    assert all(float(f"{np.float32(number):.6g}") == number for (number,) in pool)


def test_all_requests_of_a_pool_are_different():
    """So an answer to another request is noticed."""
    pool = draw_pool(Payload(DOCUMENTS["one number"], "/predict"), 20_000, 1, seed=0)

    assert len({number for (number,) in pool}) == 20_000


def test_a_pool_is_the_same_for_the_same_seed():
    """A load test can be repeated."""
    payload = Payload(DOCUMENTS["a matrix"], "/predict")

    assert draw_pool(payload, 9, 2, seed=3) == draw_pool(payload, 9, 2, seed=3)
    assert draw_pool(payload, 9, 2, seed=3) != draw_pool(payload, 9, 2, seed=4)


def test_a_schema_with_few_values_repeats_requests():
    """Five ids are too few for a thousand requests; it must not search forever."""
    spec = document(array(IDS, 1), array(array(IDS, 1)))

    assert len(draw_pool(Payload(spec, "/predict"), 1000, 1, seed=0)) == 1000


def test_the_size_of_a_pool_is_limited(monkeypatch):
    """This limits the memory, whatever the size of a row."""
    monkeypatch.setattr(payload_module, "POOL_BYTES", 1000)
    pool = draw_pool(Payload(DOCUMENTS["a matrix"], "/predict"), 10_000, 1, seed=0)

    assert 5 < len(pool) < 50


def test_a_body_has_the_data():
    """As in the native dialect."""
    assert encode([[1.5], [2]]) == b'{"data":[[1.5],[2]]}'


@pytest.mark.parametrize(
    "spec, path, message",
    [
        (DOCUMENTS["one number"], "/other", "no JSON request for POST /other .*: /predict"),
        ({}, "/predict", "paths with POST: none"),
        (
            document({"$ref": "#/components/schemas/No"}, {}),
            "/predict",
            "unresolved reference #/components",
        ),
        (document({"type": "null"}, array({"type": "null"})), "/predict", "the type null"),
        (document({}, {}), "/predict", "the type None"),
    ],
)
def test_an_incomplete_document_is_rejected_with_the_reason(spec, path, message):
    """Before any request is sent."""
    with pytest.raises(PayloadError, match=message):
        Payload(spec, path)
