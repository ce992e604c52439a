"""The client's own data in the form of the native dialect, for the error that rejects it.

Clients send what other services take: bare lists, records of a table, `instances` or `inputs`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from model.signature import TensorSpec
from server.dialects.validation import Validator

MAX_ROWS: Final = 2  # that are shown of a batch
MAX_SHOWN: Final = 200  # characters
SMALL_BODY: Final = 16 * 1024  # bytes; of larger bodies only the first rows are looked at

_OTHERS: Final = {
    "instances": "/v1/models/…:predict",
    "inputs": "/v1/models/…:predict or /v2/models/…/infer",
}
_ORDER: Final = ", with the values in the order in which the model was trained"


def advice(
    document: Any, size: int, inputs: Sequence[TensorSpec], single: Validator, batch: Validator
) -> str:
    """Return sentences that show the data of a rejected request in the accepted form.

    They are empty if it cannot be brought into that form. `size` is that of the body in bytes;
    `single` and `batch` accept requests with one example, and with a batch.
    """
    keys = ("data", *_OTHERS) if isinstance(document, dict) else ()
    key = next((key for key in keys if key in document), "")
    values = document[key] if key else document
    where = f" Requests with '{key}' belong to {_OTHERS[key]}." if key in _OTHERS else ""
    is_small = size <= SMALL_BODY
    may_be_one = is_small and key not in _OTHERS and not _are_records(values)
    for data, note in _readings(_by_name(values) if is_small else _cut(values), inputs):
        is_one = may_be_one and single.accepts({"data": data})
        if is_one or batch.accepts({"data": data}):
            shown = data if is_one else _cut(data)
            whose = "Your data" if is_small and shown == data else "The first rows of your data"
            return f"{where} {whose} in this form{note}: {_text(shown)}."
    return where


def _readings(values: Any, inputs: Sequence[TensorSpec]) -> Iterator[tuple[Any, str]]:
    """Generate what may be meant as data, the most literal first, with a note on each."""
    for columns, note in _columns(values, inputs):
        for is_wrapped in (False, True):
            data = {
                spec.name: _wrapped(columns[spec.name], spec) if is_wrapped else columns[spec.name]
                for spec in inputs
            }
            yield (data if len(inputs) > 1 else next(iter(data.values()))), note


def _columns(values: Any, inputs: Sequence[TensorSpec]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Generate what may be meant for each input."""
    names = [spec.name for spec in inputs]
    is_lone = len(inputs) == 1
    if is_lone:
        yield {names[0]: values}, ""
    if isinstance(values, dict):
        if all(name in values for name in names):
            yield values, ""
        elif is_lone:
            yield {names[0]: list(values.values())}, _ORDER
    elif _are_records(values):
        if all(name in row for row in values for name in names):
            yield {name: [row[name] for row in values] for name in names}, ""
        elif is_lone:
            yield {names[0]: [list(row.values()) for row in values]}, _ORDER


def _are_records(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(r, dict) for r in values)


def _wrapped(column: Any, spec: TensorSpec) -> Any:
    """Return numbers for an input of shape `[1]` as rows of one number each."""
    if spec.shape != (1,):
        return column
    if not isinstance(column, list):
        return [column]
    return [cell if isinstance(cell, list) else [cell] for cell in column]


def _cut(data: Any) -> Any:
    """Return the first rows of a batch, of each input if there are several."""
    if isinstance(data, dict):
        return {name: _cut(column) for name, column in data.items()}
    return data[:MAX_ROWS] if isinstance(data, list) else data


def _by_name(values: Any) -> Any:
    """Return the tensors of a V2 request as nested lists by name; other values as they are."""
    if not (isinstance(values, list) and values and all(map(_is_tensor, values))):
        return values
    return {tensor["name"]: _nested(tensor["data"], tensor["shape"]) for tensor in values}


def _is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of V2 whose data fits its shape."""
    if not (isinstance(value, dict) and isinstance(value.get("name"), str)):
        return False
    shape, data = value.get("shape"), value.get("data")
    if not (isinstance(shape, list) and shape and isinstance(data, list)):
        return False
    if not all(type(size) is int and size > 0 for size in shape):
        return False
    return math.prod(shape) == len(data) or len(data) == shape[0]  # flat, or nested already


def _nested(data: list[Any], shape: list[int]) -> list[Any]:
    if len(data) == math.prod(shape):
        for size in reversed(shape[1:]):
            data = [data[start : start + size] for start in range(0, len(data), size)]
    return data


def _text(data: Any) -> str:
    text = orjson.dumps({"data": data}).decode()
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
