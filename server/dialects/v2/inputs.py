"""The inputs of a request in the Open Inference Protocol: their description and their data."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from model.signature import TensorSpec
from server.dialects.cells import json_text as json_cells
from server.dialects.cells import numbers
from server.dialects.v2 import binary as v2_binary
from server.dialects.v2 import content_type
from server.dialects.v2.documents import datatype
from server.dialects.v2.parameters import check_supported
from server.dialects.validation import Validator, below
from server.errors import InvalidData

_LARGEST_SIZE: Final = 2**63 - 1


class Input(NamedTuple):
    """An input of the model, with the validators of its data."""

    spec: TensorSpec
    flat: Validator
    nested: Validator


class GivenInput(NamedTuple):
    """An input in a request: with its data in JSON, or the number of its bytes after the JSON."""

    known: Input
    shape: tuple[int, ...]
    path: tuple[str, ...]
    data: Any
    nbytes: int | None
    is_base64: bool


def input_of(spec: TensorSpec) -> Input:
    """Return an input of the model with its validators."""
    flat = numbers.array_schema(replace(spec, shape=()), batch=True)
    return Input(spec, Validator(flat), Validator(numbers.array_schema(spec, batch=True)))


def given_input(
    known: Input, tensor: dict[str, Any], path: tuple[str, ...], default_content_type: str
) -> GivenInput:
    """Check the description of an input in a request; raises InvalidData and InvalidRequest."""
    spec, parameters = known.spec, tensor.get("parameters") or {}
    check_supported(parameters)
    is_base64 = content_type.is_base64(parameters, spec, default_content_type)
    shape = _shape_of(spec, tensor)
    if "binary_data_size" not in parameters:
        if "data" not in tensor:
            raise InvalidData(f"The input {spec.name} has no data", [])
        return GivenInput(known, shape, path, tensor["data"], None, is_base64)
    if "data" in tensor:
        raise InvalidData(f"The input {spec.name} has both data and binary_data_size", [])
    nbytes = v2_binary.check_size(spec, shape, parameters["binary_data_size"])
    return GivenInput(known, shape, path, None, nbytes, is_base64)


def array_of(given: GivenInput, tails: v2_binary.Tails, size: int) -> np.ndarray:
    """Return the data of an input; `size` is the length of the JSON. Raises InvalidData."""
    if given.nbytes is None:
        array = _from_json(given.known, given.data, given.shape, given.path, size)
    else:
        array = tails.take(given.known.spec, given.shape, given.nbytes)
    return content_type.decoded(array, given.known.spec.name) if given.is_base64 else array


def _shape_of(spec: TensorSpec, tensor: dict[str, Any]) -> tuple[int, ...]:
    """Return the shape of an input; raises InvalidData if the model takes another one.

    Nothing is allocated: the shape is only checked against the data.
    """
    if tensor["datatype"] != datatype(spec.dtype):
        message = f"The input {spec.name} is {datatype(spec.dtype)}, not {tensor['datatype']:.40}"
        if spec.dtype != "string":
            message += f'; with numpy, send array.astype("{spec.dtype}")'
        raise InvalidData(message, [])
    shape = tuple(map(int, tensor["shape"][: spec.rank + 2]))
    expected = (None, *spec.shape)
    if len(shape) != len(expected) or not all(
        0 < size <= _LARGEST_SIZE and known in (None, size)
        for size, known in zip(shape, expected, strict=True)
    ):
        wanted = [-1 if size is None else size for size in expected]
        text = ", ".join([str(size)[:20] for size in shape])
        least = ", where -1 is 1 or more" if any(size < 1 for size in shape) else ""
        raise InvalidData(f"The input {spec.name} has the shape {wanted}{least}, not [{text}]", [])
    return shape


def _from_json(
    known: Input, data: Any, shape: tuple[int, ...], path: tuple[str, ...], size: int
) -> np.ndarray:
    """Read data from a flat list, or from lists nested like the shape."""
    spec = known.spec
    is_nested = bool(data) and isinstance(data[0], list)
    validator = known.nested if is_nested else known.flat
    if not validator.accepts(data):
        violations = below(path, validator.explain(data, size))
        raise InvalidData(f"The data of {spec.name} is invalid", violations)
    if not is_nested:
        _check_count(spec, len(data), shape)
        spec = replace(spec, shape=())
    array = numbers.to_array(data, spec, path, shape=json_cells.shape_hint(spec, size))
    if is_nested and array.shape != shape:
        raise InvalidData(
            f"The data of {spec.name} has the shape {list(array.shape)}, not {list(shape)}", []
        )
    return array.reshape(shape)


def _check_count(spec: TensorSpec, count: int, shape: tuple[int, ...]) -> None:
    expected = math.prod(shape)
    if count != expected:
        text = f"The shape of {spec.name} needs {expected!s:.40} elements, but its data has {count}"
        raise InvalidData(text, [])
