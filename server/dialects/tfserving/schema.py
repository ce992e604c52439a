"""The JSON Schemas of TensorFlow Serving's REST API, for validation and the documentation."""

from __future__ import annotations

from typing import Final, NamedTuple

from model.signature import TensorSpec
from server.dialects.cells import numbers
from server.dialects.validation import Schema

SIGNATURE: Final = "serving_default"
SIGNATURES: Final = ("", SIGNATURE)  # the names of a model's only signature

_B64: Final[Schema] = {
    "type": "object",
    "properties": {"b64": {"type": "string"}},
    "required": ["b64"],
    "additionalProperties": False,
}


class RequestForm(NamedTuple):
    """One of the forms of a request.

    Attributes:
        key: `instances` for a list of rows, or `inputs` for columns.
        is_named: whether rows or columns are objects keyed by input name.
        schema: the JSON Schema of the whole request.
    """

    key: str
    is_named: bool
    schema: Schema

    @property
    def is_row(self) -> bool:
        """Whether the request has rows, so that the answer is in `predictions`."""
        return self.key == "instances"


def request_forms(inputs: tuple[TensorSpec, ...]) -> list[RequestForm]:
    """Return the forms of requests; values without names are allowed if there is one input."""
    rows = {spec.name: _array_schema(spec, batch=False) for spec in inputs}
    columns = {spec.name: _array_schema(spec, batch=True) for spec in inputs}
    row = {**_named(rows), "additionalProperties": False}
    forms = [
        RequestForm("instances", True, _request("instances", _list_of(row))),
        RequestForm("inputs", True, _request("inputs", _named(columns))),
    ]
    if len(inputs) == 1:
        [column] = columns.values()
        forms += [
            RequestForm("instances", False, _request("instances", column)),
            RequestForm("inputs", False, _request("inputs", column)),
        ]
    return forms


def _request(key: str, schema: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {"signature_name": {"enum": [*SIGNATURES]}, key: schema},
        "required": [key],
    }


def _named(schemas: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": schemas, "required": list(schemas)}


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema, "minItems": 1}


def _array_schema(spec: TensorSpec, *, batch: bool) -> Schema:
    cell = {"anyOf": [{"type": "string"}, _B64]} if spec.dtype == "string" else None
    return numbers.array_schema(spec, batch=batch, cell=cell)


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
