"""The JSON Schemas of the native dialect, for validation and the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from model.signature import TensorSpec
from server.dialects.cells import numbers
from server.dialects.validation import Schema


def request_schemas(inputs: Sequence[TensorSpec]) -> tuple[Schema, Schema]:
    """Return the schema of a request with one example, and that of one with a batch."""
    single, batch = (_object(data=_side(inputs, batch=each)) for each in (False, True))
    return single, batch


def request_schema(inputs: Sequence[TensorSpec]) -> Schema:
    """Return the schema of any request."""
    return _object(data={"anyOf": [_side(inputs, batch=each) for each in (False, True)]})


def answer_schema(outputs: Sequence[TensorSpec], *, nullable: bool) -> Schema:
    """Return the schema of an answer; `nullable`: non-finite numbers become null."""
    shown = [replace(spec, shape=()) if spec.shape == (1,) else spec for spec in outputs]
    sides = [_side(shown, batch=each, nullable=nullable) for each in (False, True)]
    return _object(prediction={"anyOf": sides})


def _object(**properties: Schema) -> Schema:
    """Return the schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _side(specs: Sequence[TensorSpec], *, batch: bool, nullable: bool = False) -> Schema:
    """Return the schema of all inputs, or all outputs: an object by name if there are several."""
    schemas = {
        spec.name: numbers.array_schema(spec, batch=batch, nullable=nullable) for spec in specs
    }
    schema = _object(**schemas) if len(schemas) > 1 else next(iter(schemas.values()))
    return {"title": "a batch of examples" if batch else "one example", **schema}
