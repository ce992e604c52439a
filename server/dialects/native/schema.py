"""The JSON Schemas of the native dialect, for validation and the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from model.signature import TensorSpec
from server.dialects.cells import numbers
from server.dialects.cells.strings import B64
from server.dialects.labels import NO_LABELS, Labels, labelled_schema
from server.dialects.validation import Schema


def request_schemas(
    inputs: Sequence[TensorSpec], files: frozenset[str] = frozenset()
) -> tuple[Schema, Schema]:
    """Return the schema of a request with one example, and that of one with a batch.

    The inputs in `files` are files in base64.
    """
    single, batch = (_object(data=_side(inputs, batch=each, files=files)) for each in (False, True))
    return single, batch


def request_schema(
    inputs: Sequence[TensorSpec],
    as_files: Sequence[TensorSpec] = (),
    files: frozenset[str] = frozenset(),
) -> Schema:
    """Return the schema of any request: with numbers, or with the inputs in `files` as files."""
    sides = [_side(inputs, batch=each) for each in (False, True)]
    if files:
        sides += [_side(as_files, batch=each, files=files) for each in (False, True)]
    return _object(data={"anyOf": sides})


def answer_schema(
    outputs: Sequence[TensorSpec], labels: Mapping[str, Labels] = NO_LABELS, *, nullable: bool
) -> Schema:
    """Return the schema of an answer; `nullable`: non-finite numbers become null."""
    forms = [labels, NO_LABELS] if labels else [NO_LABELS]
    sides = [
        _answer(outputs, form, batch=each, nullable=nullable)
        for form in forms
        for each in (False, True)
    ]
    return _object(prediction={"anyOf": sides})


def _answer(
    outputs: Sequence[TensorSpec], labels: Mapping[str, Labels], *, batch: bool, nullable: bool
) -> Schema:
    """Return the schema of all outputs: with labels, where there are some, or as numbers."""
    schemas: dict[str, Schema] = {}
    for spec in outputs:
        shown = replace(spec, shape=()) if spec.shape == (1,) else spec
        schemas[spec.name] = (
            labelled_schema(spec, labels[spec.name], batch=batch, nullable=nullable)
            if spec.name in labels
            else numbers.array_schema(shown, batch=batch, nullable=nullable)
        )
    return _titled(schemas, batch=batch, words=" as labels" if labels else "")


def part_schemas(inputs: Sequence[TensorSpec], files: frozenset[str]) -> dict[str, Schema]:
    """Return the schemas of the parts of a form by name, each for one example or a batch."""
    parts: dict[str, Schema] = {}
    for spec in inputs:
        part = {"type": "string", "contentMediaType": "image/*"}
        cell = replace(spec, shape=()) if spec.shape == (1,) else spec  # it needs no list
        one = part if spec.name in files else numbers.array_schema(cell, batch=False)
        parts[spec.name] = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
    return parts


def _object(**properties: Schema) -> Schema:
    """Return the schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _side(
    specs: Sequence[TensorSpec], *, batch: bool, files: frozenset[str] = frozenset()
) -> Schema:
    """Return the schema of all inputs; those in `files` are files in base64."""
    cells = dict.fromkeys(files, B64)
    schemas = {
        spec.name: numbers.array_schema(spec, batch=batch, cell=cells.get(spec.name))
        for spec in specs
    }
    return _titled(schemas, batch=batch, words=" with pictures" if files else "")


def _titled(schemas: Mapping[str, Schema], *, batch: bool, words: str = "") -> Schema:
    """Return the schema of tensors by name: an object if there are several."""
    schema = _object(**schemas) if len(schemas) > 1 else next(iter(schemas.values()))
    return {"title": f"{'a batch of examples' if batch else 'one example'}{words}", **schema}
