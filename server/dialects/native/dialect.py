"""The native dialect: `{"data": …}` to `{"prediction": …}`.

Data of the model's input rank is one example, one rank more is a batch of examples. An output whose
signature shape is exactly `[1]` is answered as a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from model.signature import Signature, TensorSpec
from model.tensors import RowCountMismatch, Rows, Tensors
from server.dialects.cells import numbers, strings
from server.dialects.interface import DecodedRequest, Encoded, Headers, Refusal, Side
from server.dialects.json_body import (
    LARGE_BODY,
    check_coding,
    collecting_nothing,
    is_large,
    parse,
    read_large,
)
from server.dialects.native import npy
from server.dialects.native.small_rows import RowReader, RowWriter
from server.dialects.redaction import named, redact
from server.dialects.validation import Schema, Validator, violation
from server.errors import InvalidData, InvalidRequest, NonFiniteOutput, UnsupportedMediaType
from server.problems import detail_of, headers_of, problem_of

NAME = "native"
MEDIA_TYPE = "application/json"

MAX_EXAMPLE = 200
NO_HEADERS: Mapping[str, str] = {}

_ANSWER = b'{"prediction":'
_DATA = b'{"data":'
_ONLY_DATA = re.compile(rb'\s*\{\s*"data"\s*:([^"]*)\}\s*')  # with more text in it, parse again


def refusal(error: Exception, id_: str) -> Refusal:
    """Tell an error as a problem document (RFC 9457); `instance` is the request's id."""
    what = problem_of(error)
    document: dict[str, Any] = {
        "type": f"/problems/{what.slug}",
        "title": what.title,
        "status": what.status.value,
        "detail": detail_of(error),
        "instance": id_,
    }
    if isinstance(error, InvalidData):
        document["errors"] = error.violations
    headers = {"Content-Type": "application/problem+json", **headers_of(error)}
    return Refusal(what.status.value, orjson.dumps(document), headers)


class NativeDialect:
    """Decodes and encodes for one signature; the form of a request is whether it is one example.

    Attributes:
        schema: the JSON Schema of a request, the very document that validates.
        answer_schema: the JSON Schema of an answer.
    """

    name = NAME

    def __init__(self, signature: Signature, *, non_finite_as_null: bool = False) -> None:
        self._signature = signature
        self._non_finite_as_null = non_finite_as_null
        single = _side(signature.inputs, batch=False)
        batch = _side(signature.inputs, batch=True)
        self.schema = _object(data={"anyOf": [single, batch]})
        shown = _shown(signature.outputs)
        self.answer_schema = _object(
            prediction={
                "anyOf": [
                    _side(shown, batch=False, nullable=non_finite_as_null),
                    _side(shown, batch=True, nullable=non_finite_as_null),
                ]
            }
        )
        # The two branches of the schema above: asked in turn, they tell the form as well.
        self._single_validator = Validator(_object(data=single))
        self._batch_validator = Validator(_object(data=batch))
        self._rows = RowReader(signature.inputs)
        self._answers = RowWriter(signature.outputs)
        self._expected = self._describe()

    def check(self, headers: Headers) -> None:
        """Raise UnsupportedMediaType unless the body is JSON that is not compressed."""
        given = headers.get("content-type", "")
        if given != MEDIA_TYPE:
            _check_media_type(given)
        check_coding(headers)

    def decode(self, body: bytes, headers: Headers = NO_HEADERS) -> DecodedRequest:
        """Read a request.

        Raises:
            InvalidJSON: the body is no JSON (RFC 8259), or nested too deep.
            InvalidRequest: it is no array where its media type says so.
            InvalidData: it is not what the model takes.
        """
        if npy.is_asked(headers):
            return self._decode_npy(body)
        if is_large(body):
            return read_large(self.decode, body, headers)
        document = parse(body)
        if self._single_validator.accepts(document):  # and so not the other, which is deeper
            row = self._rows.read(document["data"])
            if row is not None:
                return DecodedRequest(row, True)
            single = True
        elif self._batch_validator.accepts(document):
            single = False
        else:
            raise self._refusal(document, len(body))
        return DecodedRequest(
            self._tensors(document["data"], single, len(body) > LARGE_BODY), single
        )

    def encode(
        self,
        answer: Rows,
        request: DecodedRequest,
        headers: Headers = NO_HEADERS,  # noqa: ARG002  # Dialect's
    ) -> Encoded:
        """Answer a request in the form that it came in; see `write`."""
        if isinstance(request.form, npy.RequestForm):
            [array] = answer.arrays.values()
            body = npy.dumps(array[0] if request.form.single else array)
            return Encoded(body, npy.MEDIA_TYPE, NO_HEADERS)
        return Encoded(self.write(answer, request.form), MEDIA_TYPE, NO_HEADERS)

    def write(self, answer: Rows, single: bool) -> bytes:
        """Write an answer; raises NonFiniteOutput for NaN and infinity, unless set otherwise."""
        if single and (text := self._answers.write(answer)):
            return _ANSWER + text + b"}"
        values = [self._shown_value(spec, answer, single) for spec in self._signature.outputs]
        prediction: Any = values[0]
        if len(values) > 1:
            names = (spec.name for spec in self._signature.outputs)
            prediction = dict(zip(names, values, strict=True))
        return orjson.dumps({"prediction": prediction}, option=orjson.OPT_SERIALIZE_NUMPY)

    def excerpt(
        self,
        body: bytes,
        answer: bytes,
        headers: Headers = NO_HEADERS,
    ) -> tuple[bytes, bytes]:
        """Return the data of a valid request and the prediction, as JSON, for the record."""
        if npy.is_asked(headers):
            return b"null", b"null"
        if is_large(body):
            with collecting_nothing():
                return self.excerpt(body, answer)
        return _data_of(body), answer[len(_ANSWER) : -1]

    def redacted(self, side: Side, text: bytes, names: frozenset[str]) -> bytes:
        """Return the data, or the prediction, without the values of what is called in `names`."""
        specs = self._signature.inputs if side == "input" else self._signature.outputs

        def show(value: Any) -> Any:
            return named(value, specs, names) if len(specs) > 1 else value

        return redact(text, specs, names, show)

    def example(self, rows: int | None = None, *, variable_size: int = 2) -> bytes:
        """Return the body of a valid request: one example, or a batch of `rows`."""
        data: dict[str, Any] = {}
        for spec in self._signature.inputs:
            array = np.stack(
                [numbers.example(spec, row, variable_size) for row in range(rows or 1)]
            )
            data[spec.name] = array.tolist()[0] if rows is None else array.tolist()
        return orjson.dumps({"data": data if len(data) > 1 else next(iter(data.values()))})

    def _decode_npy(self, body: bytes) -> DecodedRequest:
        """Read an array; raises InvalidRequest and InvalidData."""
        if not npy.can_say(self._signature):
            raise InvalidRequest(
                f"{npy.MEDIA_TYPE} is for models with one input and one output of numbers; "
                "send JSON."
            )
        [spec] = self._signature.inputs
        array, single = npy.loads(body, spec)
        return DecodedRequest(Tensors({spec.name: array}), npy.RequestForm(single))

    def _is_single(self, data: Any) -> bool:
        """Tell one example from a batch by the depth of the first input that is there."""
        inputs = self._signature.inputs
        if len(inputs) == 1:
            return _depth(data) <= inputs[0].rank
        given = data if isinstance(data, dict) else {}
        return any(_depth(given[spec.name]) <= spec.rank for spec in inputs if spec.name in given)

    def _refusal(self, document: Any, size: int) -> InvalidData:
        """Explain with the branch of the schema that the data was meant for."""
        data = document.get("data") if isinstance(document, dict) else None
        validator = self._single_validator if self._is_single(data) else self._batch_validator
        return InvalidData(self._expected, validator.explain(document, size))

    def _tensors(self, data: Any, single: bool, large: bool) -> Tensors:
        inputs = self._signature.inputs
        named = {inputs[0].name: data} if len(inputs) == 1 else data
        arrays = {}
        for spec in inputs:
            path = ("data",) if len(inputs) == 1 else ("data", spec.name)
            shape = () if not large else spec.shape if single else (None, *spec.shape)
            array = numbers.to_array(named[spec.name], spec, path, shape=shape)
            arrays[spec.name] = array[np.newaxis] if single else array
        try:
            return Tensors(arrays)
        except RowCountMismatch:
            message = "All inputs must have the same number of examples"
            raise InvalidData(message, [violation(["data"], message)]) from None

    def _shown_value(self, spec: TensorSpec, answer: Rows, single: bool) -> Any:
        """Return an output as it is shown: finite, and without the axis of a shape `[1]`."""
        array = answer.arrays[spec.name]
        if not self._non_finite_as_null and not numbers.is_finite(array):
            raise NonFiniteOutput(f"The output {spec.name} has values that are not finite numbers.")
        if array.dtype.hasobject:
            shown = strings.to_json((array[:, 0] if spec.shape == (1,) else array).tolist())
            return shown[0] if single else shown
        if single:
            row = array[0, 0] if spec.shape == (1,) else array[0]
            return np.ascontiguousarray(row) if row.ndim else row
        return np.ascontiguousarray(array[:, 0] if spec.shape == (1,) else array)

    def _describe(self) -> str:
        """Return the sentence that tells the sender of refused data what to send."""
        one, two = (self.example(rows).decode() for rows in (None, 2))
        if len(two) > MAX_EXAMPLE:
            inputs = ", ".join(str(spec) for spec in self._signature.inputs)
            return f"Expected one example ({inputs}), or a list of examples."
        return f"Expected one example, such as {one}, or a list of examples, such as {two}."


def _check_media_type(given: str) -> None:
    media_type = given.partition(";")[0].strip().lower()
    if media_type not in (MEDIA_TYPE, npy.MEDIA_TYPE):
        raise UnsupportedMediaType(
            f"Send the header Content-Type: {MEDIA_TYPE}, not {media_type[:80] or 'none'}."
        )


def _data_of(body: bytes) -> bytes:
    """Return the data of a valid request as it was written."""
    if body.startswith(_DATA) and body.endswith(b"}") and body.count(b'"') == 2:
        return body[len(_DATA) : -1]
    found = _ONLY_DATA.fullmatch(body)
    return found[1] if found else orjson.dumps(orjson.loads(body)["data"])


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


def _shown(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Return outputs as they are answered: those of shape `[1]` as numbers."""
    return [replace(spec, shape=()) if spec.shape == (1,) else spec for spec in specs]


def _depth(data: Any) -> int:
    """Return how deep the first element of nested lists is."""
    depth = 0
    while isinstance(data, list):
        depth += 1
        data = data[0] if data else None
    return depth
