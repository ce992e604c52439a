"""Requests and answers of the native dialect in JSON: `{"data": …}` and `{"prediction": …}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import orjson

from model.examples import cells_of_row, example_rows
from model.signature import Signature, TensorSpec
from model.tensors import RowCountMismatch, Rows, Tensors
from server.dialects.answer_size import json_bytes, name_bytes
from server.dialects.cells import numbers, strings
from server.dialects.interface import NO_HEADERS, DecodedRequest, Encoded
from server.dialects.json_body import LARGE_BODY, decode_large, gc_paused, parse
from server.dialects.labels import NO_LABELS, Labels, labelled, labelled_bytes
from server.dialects.native import own_data
from server.dialects.native.codec import RequestForm
from server.dialects.native.schema import request_schemas
from server.dialects.native.small_rows import RowReader, RowWriter
from server.dialects.not_json import Advice, shown
from server.dialects.validation import Validator, violation
from server.errors import InvalidData, NonFiniteOutput

MEDIA_TYPE: Final = "application/json"
MAX_EXAMPLE: Final = 200

_ANSWER: Final = b'{"prediction":'
_DATA: Final = b'{"data":'
_FILE: Final = '{"b64": "…"}'
_ONLY_DATA: Final = re.compile(rb'\s*\{\s*"data"\s*:([^"]*)\}\s*')  # other bodies are parsed again


class JsonCodec:
    """JSON for one signature."""

    def __init__(
        self,
        signature: Signature,
        *,
        non_finite_as_null: bool,
        advice: Advice,
        labels: Mapping[str, Labels] = NO_LABELS,
        files: frozenset[str] = frozenset(),
        hint: str = "",
    ) -> None:
        """Make the codec of a signature; the strings of `files` come as `{"b64": …}`.

        `hint` is added to what the sender of invalid data is told to send.
        """
        self._signature = signature
        self._labels = labels
        self._non_finite_as_null = non_finite_as_null
        self._single = RequestForm(MEDIA_TYPE, True)
        self._batch = RequestForm(MEDIA_TYPE, False)
        # The branches of the request's schema: which of the two accepts a body tells its form.
        single, batch = request_schemas(signature.inputs, files)
        self._single_validator = Validator(single)
        self._batch_validator = Validator(batch)
        self._rows = RowReader(signature.inputs)
        self._answers = RowWriter(signature.outputs)
        self._expected = _expected(signature, files) + hint
        self._advice = advice
        self._row_bytes = json_bytes(signature.outputs)
        self._labelled_bytes = sum(
            name_bytes(spec) + labelled_bytes(spec, labels[spec.name])
            if spec.name in labels
            else json_bytes([spec])
            for spec in signature.outputs
        )

    def decode(self, body: bytes) -> DecodedRequest:
        """Read a request; raises InvalidJSON and InvalidData."""
        if len(body) > LARGE_BODY:
            return decode_large(self._decode, body)
        return self._decode(body)

    def _decode(self, body: bytes) -> DecodedRequest:
        return self.decode_document(parse(body, self._advice), len(body))

    def decode_document(self, document: Any, size: int) -> DecodedRequest:
        """Read a request of `size` bytes that has been parsed; raises InvalidData."""
        if self._single_validator.accepts(
            document
        ):  # then the other one, which is deeper, would not
            row = self._rows.read(document["data"])
            if row is not None:
                return DecodedRequest(row, self._single)
            form = self._single
        elif self._batch_validator.accepts(document):
            form = self._batch
        else:
            raise self._invalid(document, size)
        is_large = size > LARGE_BODY
        return DecodedRequest(self._tensors(document["data"], form.single, is_large), form)

    def answer_bytes(self, rows: int, form: RequestForm) -> int:
        """Return the most bytes that an answer with so many rows can have, as far as known."""
        return rows * (self._row_bytes if form.raw else self._labelled_bytes)

    def encode(self, answer: Rows, form: RequestForm) -> Encoded:
        """Write an answer; raises NonFiniteOutput for NaN and infinity, unless they become null."""
        return Encoded(self.write(answer, form.single, form.raw), MEDIA_TYPE, NO_HEADERS)

    def write(self, answer: Rows, single: bool, raw: bool = False) -> bytes:
        """Return the body of an answer; `raw`: without labels. Raises NonFiniteOutput."""
        labels = NO_LABELS if raw else self._labels
        if single and not labels and (text := self._answers.write(answer)):
            return _ANSWER + text + b"}"
        values = [
            self._labelled(spec, answer, single, labels[spec.name])
            if spec.name in labels
            else self._value_of(spec, answer, single)
            for spec in self._signature.outputs
        ]
        prediction: Any = values[0]
        if len(values) > 1:
            names = (spec.name for spec in self._signature.outputs)
            prediction = dict(zip(names, values, strict=True))
        return orjson.dumps({"prediction": prediction}, option=orjson.OPT_SERIALIZE_NUMPY)

    def input_excerpt(self, body: bytes) -> bytes:
        """Return the data of a valid request."""
        if len(body) > LARGE_BODY:
            with gc_paused():
                return _data_of(body)
        return _data_of(body)

    def answer_excerpt(self, answer: bytes) -> bytes:
        """Return the prediction."""
        return answer[len(_ANSWER) : -1]

    def _is_single(self, data: Any) -> bool:
        """Return whether data is one example, by the depth of the first input that is given."""
        inputs = self._signature.inputs
        if len(inputs) == 1:
            return _depth(data) <= inputs[0].rank
        given = data if isinstance(data, dict) else {}
        return any(_depth(given[spec.name]) <= spec.rank for spec in inputs if spec.name in given)

    def _invalid(self, document: Any, size: int) -> InvalidData:
        """Return an error that explains the data by the branch of the schema it is meant for."""
        data = document.get("data") if isinstance(document, dict) else None
        validator = self._single_validator if self._is_single(data) else self._batch_validator
        own = own_data.advice(
            document, size, self._signature.inputs, self._single_validator, self._batch_validator
        )
        return InvalidData(self._expected + own, validator.explain(document, size))

    def _tensors(self, data: Any, single: bool, is_large: bool) -> Tensors:
        inputs = self._signature.inputs
        named = {inputs[0].name: data} if len(inputs) == 1 else data
        arrays = {}
        for spec in inputs:
            path = ("data",) if len(inputs) == 1 else ("data", spec.name)
            shape = () if not is_large else spec.shape if single else (None, *spec.shape)
            array = numbers.to_array(named[spec.name], spec, path, shape=shape)
            arrays[spec.name] = array[np.newaxis] if single else array
        try:
            return Tensors(arrays)
        except RowCountMismatch:
            message = "All inputs must have the same number of examples"
            raise InvalidData(message, [violation(["data"], message)]) from None

    def _labelled(self, spec: TensorSpec, answer: Rows, single: bool, labels: Labels) -> Any:
        """Return an output as lists of labels."""
        rows = labelled(self._checked(spec, answer), spec, labels)
        return rows[0] if single else rows

    def _checked(self, spec: TensorSpec, answer: Rows) -> np.ndarray:
        """Return an output; raises NonFiniteOutput unless such numbers become null."""
        array = answer.arrays[spec.name]
        if not self._non_finite_as_null and not numbers.is_finite(array):
            raise NonFiniteOutput(f"The output {spec.name} has values that are NaN or infinite.")
        return array

    def _value_of(self, spec: TensorSpec, answer: Rows, single: bool) -> Any:
        """Return an output as it is written: finite, and without the axis of a shape `[1]`."""
        array = self._checked(spec, answer)
        if array.dtype.hasobject:
            values = strings.to_json((array[:, 0] if spec.shape == (1,) else array).tolist())
            return values[0] if single else values
        if single:
            row = array[0, 0] if spec.shape == (1,) else array[0]
            return np.ascontiguousarray(row) if row.ndim else row
        return np.ascontiguousarray(array[:, 0] if spec.shape == (1,) else array)


def example(signature: Signature, rows: int | None, variable_size: int) -> bytes:
    """Return the body of a valid request: one example, or a batch of `rows`."""
    made_up = example_rows(signature, rows or 1, variable_size)
    return request_body(signature, made_up, single=rows is None)


def request_body(signature: Signature, rows: Rows, *, single: bool) -> bytes:
    """Return the body of a request for these rows; `single`: for the one row of them."""
    data: dict[str, Any] = {}
    for spec in signature.inputs:
        cells = strings.cells_of(rows.arrays[spec.name])
        data[spec.name] = cells[0] if single else cells
    return orjson.dumps({"data": data if len(data) > 1 else next(iter(data.values()))})


def _expected(signature: Signature, files: frozenset[str]) -> str:
    """Return the sentence that tells the sender of invalid data what to send."""
    if files:
        inputs = signature.inputs
        texts = [f"{spec.name}: {_FILE}" if spec.name in files else str(spec) for spec in inputs]
        return f"Expected one example ({', '.join(texts)}), or a list of examples."
    if 2 * cells_of_row(signature, 2) <= MAX_EXAMPLE:
        one, two = (example(signature, rows, 2).decode() for rows in (None, 2))
        if len(two) <= MAX_EXAMPLE:
            return f"Expected one example, such as {one}, or a list of examples, such as {two}."
    return f"Expected one example ({shown(signature.inputs)}), or a list of examples."


def _data_of(body: bytes) -> bytes:
    """Return the data of a valid request as it was written."""
    if body.startswith(_DATA) and body.endswith(b"}") and body.count(b'"') == 2:
        return body[len(_DATA) : -1]
    found = _ONLY_DATA.fullmatch(body)
    return found[1] if found else orjson.dumps(orjson.loads(body)["data"])


def _depth(data: Any) -> int:
    """Return how deep the first element of nested lists is."""
    depth = 0
    while isinstance(data, list):
        depth += 1
        data = data[0] if data else None
    return depth
