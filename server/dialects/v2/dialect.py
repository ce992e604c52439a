"""The Open Inference Protocol, version 2 (KServe, Triton, MLServer), in JSON.

Tensors come with their names, shapes and datatypes; `v2_binary` has those that stand behind the
JSON. docs/protocols.md lists what the reference servers do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from model.signature import Signature, TensorSpec
from model.tensors import RowCountMismatch, Rows, Tensors
from server.dialects.cells import json_text as json_cells
from server.dialects.cells import numbers, strings
from server.dialects.interface import DecodedRequest, Encoded, Headers, Refusal, Side
from server.dialects.json_body import check_coding, is_large, parse, plain_refusal, read_large
from server.dialects.redaction import HIDDEN, redact
from server.dialects.v2 import binary as v2_binary
from server.dialects.v2 import schema as v2_schema
from server.dialects.v2.documents import datatype
from server.dialects.validation import Validator, below
from server.errors import InvalidData, InvalidRequest

NAME: Final = "v2"
JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"
_LARGEST_SIZE: Final = 2**63 - 1
_REMEMBERED: Final = (
    64  # pieces of JSON before bytes: clients send the same ones again and again, …
)
_LONGEST_REMEMBERED: Final = 1024  # … unless there is much data in them
_UNSUPPORTED: Final = ("sequence_id", "shared_memory_region", "classification")
_SHOWN: Final[Sequence[str]] = ("name", "datatype", "shape", "data")
_NO_HEADERS: Final[Mapping[str, str]] = {}
# What an answer has somewhere that is not JSON alone; a text in JSON has `\\` before its quotes.
_NO_JSON: Final = (b'"parameters":{"binary_data_size":', b"NaN", b"Infinity")


class Wanted(NamedTuple):
    """One output, as a request asks for it."""

    spec: TensorSpec
    is_binary: bool


class RequestForm(NamedTuple):
    """What of a request its answer needs."""

    id: str | None
    outputs: tuple[Wanted, ...]


class _Input(NamedTuple):
    """An input of the model, and what validates its data."""

    spec: TensorSpec
    flat: Validator
    nested: Validator


class _Given(NamedTuple):
    """An input as a request has it: its data in JSON, or how many bytes it has behind the JSON."""

    known: _Input
    shape: tuple[int, ...]
    path: tuple[str, ...]
    data: Any
    nbytes: int | None


class _Asked(NamedTuple):
    """What the JSON of a request says; its data is not looked at yet."""

    form: RequestForm
    timeout_ms: int | None
    inputs: tuple[_Given, ...]


class V2Dialect:
    """Decodes and encodes for one version of a model.

    Attributes:
        schema: the JSON Schema of a request.
        answer_schema: the JSON Schema of an answer.
    """

    name = NAME

    def __init__(
        self, name: str, version: str, signature: Signature, *, non_finite_as_null: bool = False
    ) -> None:
        self._model = {"model_name": name, "model_version": version}
        self._non_finite_as_null = non_finite_as_null
        self._inputs = {spec.name: _input(spec) for spec in signature.inputs}
        self._outputs = {spec.name: spec for spec in signature.outputs}
        self._all_outputs = tuple(Wanted(spec, False) for spec in signature.outputs)
        self._envelope = Validator(v2_schema.ENVELOPE)
        self._read_again = lru_cache(_REMEMBERED)(self._read)
        self.schema = v2_schema.request_schema(signature)
        self.answer_schema = v2_schema.answer_schema(signature.outputs, nullable=non_finite_as_null)

    def check(self, headers: Headers) -> None:
        """Raise UnsupportedMediaType for a compressed body; its media type is not looked at."""
        check_coding(headers)

    def decode(self, body: bytes, headers: Headers = _NO_HEADERS) -> DecodedRequest:
        """Read a request; raises InvalidJSON, InvalidRequest and InvalidData."""
        length = v2_binary.json_length(body, headers)
        if length < len(body) and length <= _LONGEST_REMEMBERED:
            asked = self._read_again(body[:length])
        elif is_large(body):
            return read_large(self.decode, body, headers)
        else:
            asked = self._read(body if length == len(body) else memoryview(body)[:length])
        tails = v2_binary.Tails(body, length)
        arrays = {given.known.spec.name: _array(given, tails, length) for given in asked.inputs}
        tails.check_end()
        try:
            tensors = Tensors({name: arrays[name] for name in self._inputs})
        except RowCountMismatch:
            message = "All inputs must have the same first dimension, that of the rows"
            raise InvalidData(message, []) from None
        return DecodedRequest(tensors, asked.form, asked.timeout_ms)

    def encode(
        self,
        answer: Rows,
        request: DecodedRequest,
        headers: Headers = _NO_HEADERS,  # noqa: ARG002  # Dialect's
    ) -> Encoded:
        """Write an answer; non-finite numbers are `NaN` and `Infinity` in JSON, as Triton has them.

        Where the settings say so they are null.
        """
        form: RequestForm = request.form
        described: list[dict[str, Any]] = []
        tails: list[bytes] = []
        for spec, is_binary in form.outputs:
            array = answer.arrays[spec.name]
            output: dict[str, Any] = {
                "name": spec.name,
                "datatype": datatype(spec.dtype),
                "shape": array.shape,
            }
            if is_binary:
                tail = v2_binary.to_bytes(array)
                tails.append(tail)
                output["parameters"] = {"binary_data_size": len(tail)}
            else:
                output["data"] = self._data(spec, array)
            described.append(output)
        document = dict(self._model)
        if form.id is not None:
            document["id"] = form.id
        head = orjson.dumps({**document, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
        if not tails:
            return Encoded(head, JSON, _NO_HEADERS)
        length = {v2_binary.LENGTH_HEADER: str(len(head))}
        return Encoded(b"".join([head, *tails]), BINARY, length)

    def excerpt(
        self, body: bytes, answer: bytes, headers: Headers = _NO_HEADERS
    ) -> tuple[bytes, bytes]:
        """Return the JSON of the request, and the answer where all of it is JSON."""
        asked = body[: v2_binary.json_length(body, headers)]
        return asked, b"null" if any(mark in answer for mark in _NO_JSON) else answer

    def redacted(self, side: Side, text: bytes, names: frozenset[str]) -> bytes:
        """Return the tensors alone, without the data of what is called in `names`."""
        key = "inputs" if side == "input" else "outputs"
        specs = [spec for spec, _, _ in self._inputs.values()]
        if side == "prediction":
            specs = list(self._outputs.values())

        def show(document: dict[str, Any]) -> dict[str, Any]:
            return {key: [_shown_tensor(tensor, names) for tensor in document[key]]}

        return redact(text, specs, names, show)

    def example(self, rows: int = 1, *, variable_size: int = 2) -> bytes:
        """Return the body of a valid request."""
        inputs = []
        for spec, _, _ in self._inputs.values():
            array = np.stack([numbers.example(spec, row, variable_size) for row in range(rows)])
            described: dict[str, Any] = {"name": spec.name, "datatype": datatype(spec.dtype)}
            described |= {"shape": list(array.shape), "data": array.ravel().tolist()}
            inputs.append(described)
        return orjson.dumps({"inputs": inputs})

    def _read(self, text: bytes | memoryview) -> _Asked:
        """Read the JSON of a request; raises InvalidJSON, InvalidRequest and InvalidData."""
        document = parse(text)
        if not self._envelope.accepts(document):
            message = "The body is no inference request"
            raise InvalidData(message, self._envelope.explain(document, len(text)))
        parameters = document.get("parameters", {})
        _check_supported(parameters)
        form = RequestForm(document.get("id"), self._wanted(document, parameters))
        return _Asked(form, _timeout_ms(parameters), self._given(document["inputs"]))

    def _given(self, tensors: Sequence[dict[str, Any]]) -> tuple[_Given, ...]:
        """Return the inputs, each of them once."""
        given: dict[str, _Given] = {}
        for index, tensor in enumerate(tensors):
            name = tensor["name"]
            if name not in self._inputs:
                names = ", ".join(self._inputs)
                raise InvalidData(f"The model has no input {name!r:.80}; it takes {names}", [])
            if name in given:
                raise InvalidData(f"The input {name} is there twice", [])
            given[name] = _given(self._inputs[name], tensor, ("inputs", str(index), "data"))
        if missing := [name for name in self._inputs if name not in given]:
            raise InvalidData(f"The input {missing[0]} is missing", [])
        return tuple(given.values())

    def _wanted(self, document: dict[str, Any], parameters: dict[str, Any]) -> tuple[Wanted, ...]:
        """Return the outputs that are asked for, in that order; all where none is named."""
        all_binary = _flag(parameters, "binary_data_output")
        given = document.get("outputs")
        if not given:
            return tuple(Wanted(spec, all_binary) for spec, _ in self._all_outputs)
        wanted: dict[str, Wanted] = {}
        for output in given:
            name, chosen = output["name"], output.get("parameters", {})
            _check_supported(chosen)
            if name not in self._outputs:
                names = ", ".join(self._outputs)
                raise InvalidData(f"The model has no output {name!r:.80}; it gives {names}", [])
            if name in wanted:
                raise InvalidData(f"The output {name} is asked for twice", [])
            is_binary = _flag(chosen, "binary_data", default=all_binary)
            wanted[name] = Wanted(self._outputs[name], is_binary)
        return tuple(wanted.values())

    def _data(self, spec: TensorSpec, array: np.ndarray) -> Any:
        """Return an output's cells in a flat list."""
        if spec.dtype == "string":
            return strings.to_json(array.ravel().tolist())
        cells = np.ascontiguousarray(array).ravel()
        if self._non_finite_as_null or numbers.is_finite(cells):
            return cells
        return orjson.Fragment(json_cells.dump_numbers(cells))


def refusal(error: Exception, id_: str) -> Refusal:  # noqa: ARG001  # the dialect has no place for it
    """Tell an error as `{"error": …}`."""
    return plain_refusal(error)


def _shown_tensor(tensor: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    shown = {key: tensor[key] for key in _SHOWN if key in tensor}
    return shown | {"data": HIDDEN} if tensor["name"] in names and "data" in tensor else shown


def _input(spec: TensorSpec) -> _Input:
    flat = numbers.array_schema(replace(spec, shape=()), batch=True)
    return _Input(spec, Validator(flat), Validator(numbers.array_schema(spec, batch=True)))


def _given(known: _Input, tensor: dict[str, Any], path: tuple[str, ...]) -> _Given:
    """Read what a request says of an input."""
    spec, parameters = known.spec, tensor.get("parameters", {})
    _check_supported(parameters)
    shape = _shape_of(spec, tensor)
    if "binary_data_size" not in parameters:
        if "data" not in tensor:
            raise InvalidData(f"The input {spec.name} has no data", [])
        return _Given(known, shape, path, tensor["data"], None)
    if "data" in tensor:
        raise InvalidData(f"The input {spec.name} has both data and binary_data_size", [])
    nbytes = v2_binary.check_size(spec, shape, parameters["binary_data_size"])
    return _Given(known, shape, path, None, nbytes)


def _array(given: _Given, tails: v2_binary.Tails, size: int) -> np.ndarray:
    if given.nbytes is None:
        return _from_json(given.known, given.data, given.shape, given.path, size)
    return tails.take(given.known.spec, given.shape, given.nbytes)


def _shape_of(spec: TensorSpec, tensor: dict[str, Any]) -> tuple[int, ...]:
    """Return the shape that a request claims; raises InvalidData where the model takes another.

    Nothing is allocated for it: it is only held against what is there.
    """
    if tensor["datatype"] != datatype(spec.dtype):
        message = f"The input {spec.name} is {datatype(spec.dtype)}, not {tensor['datatype']:.40}"
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
    known: _Input, data: Any, shape: tuple[int, ...], path: tuple[str, ...], size: int
) -> np.ndarray:
    """Read data that is in a flat list, or nested as its shape is."""
    spec = known.spec
    is_nested = bool(data) and isinstance(data[0], list)
    validator = known.nested if is_nested else known.flat
    if not validator.accepts(data):
        violations = below(path, validator.explain(data, size))
        raise InvalidData(f"The data of {spec.name} does not fit", violations)
    if not is_nested:
        _check_count(spec, len(data), shape)
        spec = replace(spec, shape=())
    array = numbers.to_array(data, spec, path, shape=json_cells.shape_hint(spec, size))
    if is_nested and array.shape != shape:
        raise InvalidData(f"The data of {spec.name} has the shape {list(array.shape)}", [])
    return array.reshape(shape)


def _check_count(spec: TensorSpec, count: int, shape: tuple[int, ...]) -> None:
    expected = math.prod(shape)
    if count != expected:
        text = f"The shape of {spec.name} needs {expected!s:.40} elements, and {count} are there"
        raise InvalidData(text, [])


def _check_supported(parameters: dict[str, Any]) -> None:
    """Raise InvalidRequest for a parameter that would change what the answer means."""
    for name in _UNSUPPORTED:
        if parameters.get(name):
            raise InvalidRequest(f"The parameter {name} is not supported here.")


def _flag(parameters: dict[str, Any], name: str, *, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"The parameter {name} must be true or false.")
    return value


def _timeout_ms(parameters: dict[str, Any]) -> int | None:
    """Return the milliseconds that the client waits; Triton's parameter counts microseconds."""
    value = parameters.get("timeout")
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest("The parameter timeout must be a whole number of microseconds.")
    return max(1, math.ceil(value / 1000))
