"""The Open Inference Protocol, version 2 (KServe, Triton, MLServer), in JSON.

Tensors have names, shapes and datatypes. Their data is in the JSON, or in binary after it (see
`binary`). docs/protocols.md lists what the reference servers do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from model.examples import example_rows
from model.signature import Signature
from model.tensors import RowCountMismatch, Rows, Tensors
from server.dialects.answer_size import binary_bytes, json_bytes
from server.dialects.cells import json_text as json_cells
from server.dialects.cells import numbers, strings
from server.dialects.interface import (
    NO_HEADERS,
    SLOW_BINARY,
    SLOW_JSON,
    DecodedRequest,
    Encoded,
    EncodedError,
    Headers,
    Side,
)
from server.dialects.json_body import (
    LARGE_BODY,
    coding_of,
    decode_large,
    encode_plain_error,
    parse,
)
from server.dialects.labels import NO_LABELS, Labels
from server.dialects.not_json import advice
from server.dialects.pictures.either import BYTES, Either
from server.dialects.pictures.reader import Pictures
from server.dialects.redaction import redact
from server.dialects.v2 import binary as v2_binary
from server.dialects.v2 import classes, content_type
from server.dialects.v2 import schema as v2_schema
from server.dialects.v2.documents import datatype
from server.dialects.v2.inputs import GivenInput, array_of, given_input, input_of
from server.dialects.v2.outputs import Wanted, wanted_outputs
from server.dialects.v2.parameters import check_supported, flag, timeout_ms
from server.dialects.v2.redaction import shown_tensor
from server.dialects.validation import Validator
from server.errors import InvalidData

NAME: Final = "v2"
JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"
DESCRIPTION_BYTES: Final = 256  # of an output without its data, its name and long shapes aside
_HOW_TO_SEND: Final = "Send it as BYTES: in binary, or in JSON as base64."
# Clients that send binary tensors repeat the same JSON, so parsed JSON is cached.
_CACHED: Final = 64
_LONGEST_CACHED: Final = 1024  # longer JSON holds data, and differs each time
_NON_FINITE: Final = (b"NaN", b"Infinity")  # numbers that are not valid JSON


class RequestForm(NamedTuple):
    """What the answer needs to know of its request.

    Attributes:
        id: the id that the answer repeats.
        outputs: the outputs that it holds, in this order.
        json_length: how many bytes of the request are JSON.
    """

    id: str | None
    outputs: tuple[Wanted, ...]
    json_length: int


class _Parsed(NamedTuple):
    """The JSON of a request, before its data is decoded."""

    form: RequestForm
    timeout_ms: int | None
    inputs: tuple[GivenInput, ...]


class V2Dialect:
    """Decodes and encodes for one version of a model.

    Attributes:
        schema: the JSON Schema of a request.
        answer_schema: the JSON Schema of an answer.
    """

    name = NAME

    def __init__(
        self,
        name: str,
        version: str,
        signature: Signature,
        *,
        non_finite_as_null: bool = False,
        labels: Mapping[str, Labels] = NO_LABELS,
        pictures: Pictures | None = None,
    ) -> None:
        self._labels = labels
        pictures = pictures or Pictures(signature)
        self._model = {"model_name": name, "model_version": version}
        self._non_finite_as_null = non_finite_as_null
        self._signature = signature
        self._inputs = {spec.name: input_of(spec) for spec in signature.inputs}
        self._outputs = {spec.name: spec for spec in signature.outputs}
        self._has_strings = any(spec.dtype == "string" for spec in signature.inputs)
        self._row_bytes = {
            (spec.name, is_binary): (binary_bytes if is_binary else json_bytes)([spec])
            for spec in signature.outputs
            for is_binary in (False, True)
        }
        self._all_outputs = tuple(Wanted(spec, False) for spec in signature.outputs)
        self._all_binary = tuple(Wanted(spec, True) for spec in signature.outputs)
        self._envelope = Validator(v2_schema.ENVELOPE)
        self._advice = advice(
            signature.inputs, "binary tensors (binary_data_size)", pictures.advice(_HOW_TO_SEND)
        )
        self._read_cached = lru_cache(_CACHED)(self._read)
        self.schema = v2_schema.request_schema(signature)
        self.answer_schema = v2_schema.answer_schema(signature.outputs, nullable=non_finite_as_null)
        self._either = None
        if pictures.names:
            files = V2Dialect(name, version, pictures.as_files)
            self._either = Either(pictures, BYTES, self._decode_numbers, files._decode_numbers)
            if pictures:
                self.schema = {"anyOf": [self.schema, files.schema]}

    def check(self, headers: Headers) -> None:
        """Raise UnsupportedMediaType for an unknown coding; any media type is accepted."""
        coding_of(headers)

    def decode(self, body: bytes, headers: Headers = NO_HEADERS) -> DecodedRequest:
        """Read a request; raises InvalidJSON, InvalidRequest and InvalidData."""
        if self._either is not None:
            length = v2_binary.valid_json_length(len(body), headers)
            return self._either.decode(body, headers, length=length)
        return self._decode_numbers(body, headers)

    def holds_pictures(self, body: bytes, headers: Headers) -> bool:
        """Return whether a body may have picture files."""
        if self._either is None:
            return False
        length = v2_binary.valid_json_length(len(body), headers)
        return self._either.may_hold_files(body, length)

    def _decode_numbers(self, body: bytes, headers: Headers) -> DecodedRequest:
        length = v2_binary.json_length(len(body), headers)
        if length > LARGE_BODY:
            return decode_large(self._decode, body, length)
        return self._decode(body, length)

    def with_query(self, request: DecodedRequest, query: str) -> DecodedRequest:  # noqa: ARG002  # Dialect's
        """Return the request: queries have no meaning in this dialect."""
        return request

    def decodes_slowly(self, nbytes: int, headers: Headers) -> bool:
        """Return whether a body has long JSON or long strings; arrays of numbers are copied."""
        if nbytes < SLOW_JSON:
            return False
        length = v2_binary.valid_json_length(nbytes, headers)
        return length >= SLOW_JSON or self._has_strings

    def _decode(self, body: bytes, length: int) -> DecodedRequest:
        if length == len(body):
            parsed = self._read(body)
        elif length <= _LONGEST_CACHED:
            parsed = self._read_cached(body[:length])
        else:
            parsed = self._read(memoryview(body)[:length])
        tails = v2_binary.Tails(body, length)
        arrays = {given.known.spec.name: array_of(given, tails, length) for given in parsed.inputs}
        tails.check_end()
        try:
            tensors = Tensors({name: arrays[name] for name in self._inputs})
        except RowCountMismatch:
            message = "All inputs must have the same first dimension, the number of rows"
            raise InvalidData(message, []) from None
        return DecodedRequest(tensors, parsed.form, parsed.timeout_ms)

    def answer_bytes(self, request: DecodedRequest) -> int:
        """Return the most bytes that the answer can have, as far as they are known."""
        form: RequestForm = request.form
        row = sum([self._bytes_of(each) for each in form.outputs])
        return DESCRIPTION_BYTES * len(form.outputs) + len(request.tensors) * row

    def encode(self, answer: Rows, request: DecodedRequest) -> Encoded:
        """Write an answer; non-finite numbers become `NaN` and `Infinity` in JSON, as in Triton.

        They become null if the settings say so.
        """
        form: RequestForm = request.form
        described: list[dict[str, Any]] = []
        tails: list[bytes] = []
        for spec, is_binary, is_base64, count in form.outputs:
            array = answer.arrays[spec.name]
            if count:
                array = classes.classes_of(array, spec, count, self._labels.get(spec.name))
            output: dict[str, Any] = {
                "name": spec.name,
                "datatype": datatype("string" if count else spec.dtype),
                "shape": array.shape,
            }
            parameters: dict[str, Any] = {}
            if is_base64:
                array = content_type.encoded(array)
                parameters[content_type.NAME] = content_type.BASE64
            if is_binary:
                tail = v2_binary.to_bytes(array)
                tails.append(tail)
                parameters["binary_data_size"] = len(tail)
            else:
                output["data"] = self._data(array)
            described.append(output | {"parameters": parameters} if parameters else output)
        document = dict(self._model)
        if form.id is not None:
            document["id"] = form.id
        head = orjson.dumps({**document, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
        if not tails:
            return Encoded(head, JSON, NO_HEADERS)
        length = {v2_binary.LENGTH_HEADER: str(len(head))}
        return Encoded(b"".join([head, *tails]), BINARY, length)

    def encodes_slowly(self, request: DecodedRequest, nbytes: int) -> bool:
        """Return whether an answer has long JSON or long strings, or is a very long array."""
        form: RequestForm = request.form
        is_array = all(
            each.is_binary and each.spec.dtype != "string" and not each.classes
            for each in form.outputs
        )
        return nbytes >= (SLOW_BINARY if is_array else SLOW_JSON)

    def input_excerpt(self, request: DecodedRequest, body: bytes) -> bytes:
        """Return the JSON of the request."""
        form: RequestForm = request.form
        return body[: form.json_length]

    def answer_excerpt(self, request: DecodedRequest, answer: bytes) -> bytes:
        """Return the answer if it is JSON."""
        form: RequestForm = request.form
        is_json = not any(output.is_binary for output in form.outputs)
        if not is_json or any(mark in answer for mark in _NON_FINITE):
            return b"null"
        return answer

    def redacted(self, side: Side, text: bytes, names: frozenset[str]) -> bytes:
        """Return only the tensors, without the data of those in `names`."""
        key = "inputs" if side == "input" else "outputs"
        specs = [spec for spec, _, _ in self._inputs.values()]
        if side == "prediction":
            specs = list(self._outputs.values())

        def show(document: dict[str, Any]) -> dict[str, Any]:
            return {key: [shown_tensor(tensor, names) for tensor in document[key]]}

        return redact(text, specs, names, show)

    def request_body(self, rows: Rows) -> bytes:
        """Return the body of a request for these rows, with flat data."""
        inputs = []
        for spec, _, _ in self._inputs.values():
            array = rows.arrays[spec.name]
            described: dict[str, Any] = {"name": spec.name, "datatype": datatype(spec.dtype)}
            described |= {"shape": array.shape, "data": strings.cells_of(array.ravel())}
            inputs.append(described)
        return orjson.dumps({"inputs": inputs})

    def example(self, rows: int = 1, *, variable_size: int = 2) -> bytes:
        """Return the body of a request with made-up rows."""
        return self.request_body(example_rows(self._signature, rows, variable_size))

    def _read(self, text: bytes | memoryview) -> _Parsed:
        """Read the JSON of a request; raises InvalidJSON, InvalidRequest and InvalidData."""
        document = parse(text, self._advice)
        if not self._envelope.accepts(document):
            message = "The body is not an inference request"
            raise InvalidData(message, self._envelope.explain(document, len(text)))
        parameters = document.get("parameters") or {}
        check_supported(parameters)
        all_binary = flag(parameters, "binary_data_output")
        outputs = self._all_binary if all_binary else self._all_outputs
        if given := document.get("outputs"):
            outputs = wanted_outputs(given, self._outputs, all_binary)
        form = RequestForm(document.get("id"), outputs, len(text))
        default = content_type.default_of(parameters, (each.spec for each in self._inputs.values()))
        return _Parsed(form, timeout_ms(parameters), self._given(document["inputs"], default))

    def _given(
        self, tensors: Sequence[dict[str, Any]], default_content_type: str
    ) -> tuple[GivenInput, ...]:
        """Return the inputs of a request; raises InvalidData unless it has each of them once."""
        given: dict[str, GivenInput] = {}
        for index, tensor in enumerate(tensors):
            name = tensor["name"]
            if name not in self._inputs:
                names = ", ".join(self._inputs)
                raise InvalidData(
                    f"The model has no input {name!r:.80}; its inputs are {names}", []
                )
            if name in given:
                raise InvalidData(f"The input {name} is given twice", [])
            path = ("inputs", str(index), "data")
            given[name] = given_input(self._inputs[name], tensor, path, default_content_type)
        if missing := [name for name in self._inputs if name not in given]:
            raise InvalidData(f"The input {missing[0]} is missing", [])
        return tuple(given.values())

    def _bytes_of(self, wanted: Wanted) -> int:
        """Return the most bytes that a row of an output has."""
        spec, is_binary, _, count = wanted
        if not count:
            return self._row_bytes[spec.name, is_binary]
        return count * classes.class_bytes(spec, self._labels.get(spec.name))

    def _data(self, array: np.ndarray) -> Any:
        """Return an output's cells in a flat list."""
        if array.dtype.hasobject:
            return strings.to_json(array.ravel().tolist())
        cells = np.ascontiguousarray(array).ravel()
        if self._non_finite_as_null or numbers.is_finite(cells):
            return cells
        return orjson.Fragment(json_cells.dump_numbers(cells))


def encode_error(error: Exception, id_: str) -> EncodedError:  # noqa: ARG001  # errors of this dialect have no id
    """Return an error as `{"error": …}`."""
    return encode_plain_error(error)
