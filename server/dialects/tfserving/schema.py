"""The JSON Schemas of TensorFlow Serving's REST API, for validation and the documentation."""

from __future__ import annotations

from typing import NamedTuple

from model.signature import Signature, TensorSpec
from server.dialects.cells import numbers
from server.dialects.cells.strings import B64
from server.dialects.validation import Schema


class RequestForm(NamedTuple):
    """One of the forms of a request.

    Attributes:
        key: `instances` for a list of rows, or `inputs` for columns.
        is_named: whether rows or columns are objects keyed by input name.
    """

    key: str
    is_named: bool

    @property
    def is_row(self) -> bool:
        """Whether the request has rows, so that the answer is in `predictions`."""
        return self.key == "instances"


def request_forms(
    signature: Signature, files: frozenset[str] = frozenset()
) -> list[tuple[RequestForm, Schema]]:
    """Return the forms of requests, each with the JSON Schema of the whole request.

    Values without names are allowed if there is one input. The inputs in `files` are in base64.
    """
    inputs = signature.inputs

    def form(key: str, is_named: bool, schema: Schema) -> tuple[RequestForm, Schema]:
        names = {"enum": ["", signature.name, None]}
        properties: Schema = {"signature_name": names, key: schema}
        request = {"type": "object", "properties": properties, "required": [key]}
        return RequestForm(key, is_named), request

    cells = {spec.name: B64 if spec.name in files else _cell(spec) for spec in inputs}
    rows, columns = (
        {s.name: numbers.array_schema(s, batch=batch, cell=cells[s.name]) for s in inputs}
        for batch in (False, True)
    )
    row = {"title": "one example", **_named(rows), "additionalProperties": False}
    forms = [
        form("instances", True, _list_of(row)),
        form("inputs", True, _named(columns)),
    ]
    if len(inputs) == 1:
        [column] = columns.values()
        forms += [
            form("instances", False, column),
            form("inputs", False, column),
        ]
    return forms


def _named(schemas: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": schemas, "required": list(schemas)}


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema, "minItems": 1}


def _cell(spec: TensorSpec) -> Schema | None:
    return {"anyOf": [{"type": "string"}, B64]} if spec.dtype == "string" else None


def answer_schema(outputs: tuple[TensorSpec, ...]) -> Schema:
    """Return the schema of an answer, in rows or in columns."""
    columns: dict[str, Schema] = {s.name: numbers.array_schema(s, batch=True) for s in outputs}
    rows: dict[str, Schema] = {s.name: numbers.array_schema(s, batch=False) for s in outputs}
    single = next(iter(columns.values()))
    predictions = single if len(outputs) == 1 else _list_of(_named(rows))
    answers = {
        "predictions": predictions,
        "outputs": single if len(outputs) == 1 else _named(columns),
    }
    return {"type": "object", "properties": answers, "minProperties": 1, "maxProperties": 1}
