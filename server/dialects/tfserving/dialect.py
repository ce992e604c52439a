"""TensorFlow Serving's REST dialect: `instances` to `predictions`, or `inputs` to `outputs`.

It follows TensorFlow Serving's `json_tensor.cc`; docs/protocols.md lists the differences.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson

from model.examples import example_rows
from model.signature import Signature, TensorSpec
from model.tensors import RowCountMismatch, Rows, Tensors
from server.dialects.answer_size import json_bytes
from server.dialects.cells import json_text as json_cells
from server.dialects.cells import numbers, strings
from server.dialects.interface import (
    NO_HEADERS,
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
    format_of,
    parse,
)
from server.dialects.not_json import advice
from server.dialects.pictures.either import B64, Either
from server.dialects.pictures.reader import Pictures
from server.dialects.redaction import named, redact
from server.dialects.tfserving.schema import RequestForm, answer_schema, request_forms
from server.dialects.validation import Schema, Validator, shorten
from server.errors import InvalidData, InvalidRequest, Violation

NAME: Final = "tfserving"
MEDIA_TYPE: Final = "application/json"
_HOW_TO_SEND: Final = 'Send it in JSON, as {"instances": [{"b64": "…"}]}.'
BYTES_SUFFIX: Final = "_bytes"  # outputs with such names are bytes instead of text


class TFServingDialect:
    """Decodes and encodes for one signature; requests come in one of several `RequestForm`s.

    Attributes:
        schema: the JSON Schema of a request; each form has its own validator.
        answer_schema: the JSON Schema of an answer.
    """

    name = NAME

    def __init__(
        self,
        signature: Signature,
        pictures: Pictures | None = None,
        files: frozenset[str] = frozenset(),
    ) -> None:
        """Make the dialect of a signature; the strings of `files` come as `{"b64": …}` alone."""
        self._signature = signature
        self._files = files
        pictures = pictures or Pictures(signature)
        self._names = ("", signature.name)
        self._inputs = signature.inputs
        self._outputs = signature.outputs
        forms = request_forms(signature, files)
        self._forms = {(form.key, form.is_named): (form, Validator(s)) for form, s in forms}
        self.schema: Schema = {"anyOf": [schema for _, schema in forms]}
        self._either = None
        self._hint = '; a picture is sent as {"b64": "…"}' if pictures else ""
        if pictures.names:
            in_files = TFServingDialect(pictures.as_files, files=pictures.names)
            decoders = (self._decode_numbers, in_files._decode_numbers)
            self._either = Either(pictures, B64, *decoders)
            if pictures:
                self.schema["anyOf"] += in_files.schema["anyOf"]
        self.answer_schema = answer_schema(signature.outputs)
        self._advice = advice(
            signature.inputs, "binary tensors to a path of /v2", pictures.advice(_HOW_TO_SEND)
        )
        self._object = format_of([spec.name for spec in signature.outputs])
        self._row_bytes = json_bytes(signature.outputs)

    def check(self, headers: Headers) -> None:
        """Raise UnsupportedMediaType for an unknown coding; any media type is accepted."""
        coding_of(headers)

    def decode(self, body: bytes, headers: Headers = NO_HEADERS) -> DecodedRequest:  # noqa: ARG002  # Dialect's
        """Read a request; raises InvalidJSON, InvalidRequest and InvalidData."""
        return self._either.decode(body) if self._either else self._decode_numbers(body)

    def holds_pictures(self, body: bytes, headers: Headers) -> bool:  # noqa: ARG002  # Dialect's
        """Return whether a body may have picture files."""
        return self._either is not None and self._either.may_hold_files(body)

    def _decode_numbers(self, body: bytes) -> DecodedRequest:
        if len(body) > LARGE_BODY:
            return decode_large(self._decode, body)
        return self._decode(body)

    def _decode(self, body: bytes) -> DecodedRequest:
        document = parse(body, self._advice)
        form, validator = self._form_of(document)
        self._check_signature_name(document.get("signature_name", ""))
        if not validator.accepts(document):
            raise InvalidData(self._expected(form), validator.explain(document, len(body)))
        return DecodedRequest(self._tensors(form, document[form.key], body), form)

    def answer_bytes(self, request: DecodedRequest) -> int:
        """Return the most bytes that the answer can have, as far as they are known."""
        return len(request.tensors) * self._row_bytes

    def encode(self, answer: Rows, request: DecodedRequest) -> Encoded:
        """Write an answer; non-finite numbers become `NaN` and `Infinity`, as in TF Serving."""
        columns = [(spec, answer.arrays[spec.name]) for spec in self._outputs]
        if request.form.is_row and len(columns) > 1:
            rows = zip(*(_row_texts(spec, array) for spec, array in columns), strict=True)
            text = b"[%b]" % b",".join([self._object % row for row in rows])
        else:
            text = self._object % tuple(_text(spec, array) for spec, array in columns)
        body = (b'{"predictions":%b}' if request.form.is_row else b'{"outputs":%b}') % text
        return Encoded(body, MEDIA_TYPE, NO_HEADERS)

    def with_query(self, request: DecodedRequest, query: str) -> DecodedRequest:  # noqa: ARG002  # Dialect's
        """Return the request: queries have no meaning in this dialect."""
        return request

    def decodes_slowly(self, nbytes: int, headers: Headers) -> bool:  # noqa: ARG002  # Dialect's
        """Return whether a body is long."""
        return nbytes >= SLOW_JSON

    def encodes_slowly(self, request: DecodedRequest, nbytes: int) -> bool:  # noqa: ARG002  # Dialect's
        """Return whether an answer is long."""
        return nbytes >= SLOW_JSON

    def input_excerpt(self, request: DecodedRequest, body: bytes) -> bytes:  # noqa: ARG002  # Dialect's
        """Return the request unchanged."""
        return body

    def answer_excerpt(self, request: DecodedRequest, answer: bytes) -> bytes:  # noqa: ARG002  # Dialect's
        """Return the answer unchanged; null for one with NaN, which is no JSON."""
        return b"null" if b"NaN" in answer or b"Infinity" in answer else answer

    def redacted(self, side: Side, text: bytes, names: frozenset[str]) -> bytes:
        """Return the rows or columns without the values of the tensors in `names`."""
        specs = self._inputs if side == "input" else self._outputs

        def show(document: dict[str, Any]) -> dict[str, Any]:
            if side == "input":
                form = self._form_of(document)[0]
                return {form.key: _named_alone(document[form.key], form.is_named, specs, names)}
            [[key, value]] = document.items()
            return {key: _named_alone(value, len(specs) > 1, specs, names)}

        return redact(text, specs, names, show)

    def request_body(self, rows: Rows) -> bytes:
        """Return the body of a request for these rows, in `instances`."""
        columns = {spec.name: strings.cells_of(rows.arrays[spec.name]) for spec in self._inputs}
        if len(columns) == 1:
            return orjson.dumps({"instances": next(iter(columns.values()))})
        names, values = columns.keys(), zip(*columns.values(), strict=True)
        return orjson.dumps({"instances": [dict(zip(names, v, strict=True)) for v in values]})

    def example(self, rows: int = 2, *, variable_size: int = 2) -> bytes:
        """Return the body of a request with made-up rows."""
        return self.request_body(example_rows(self._signature, rows, variable_size))

    def _check_signature_name(self, given: Any) -> None:
        """Raise InvalidRequest for an unknown name, in the words of TF Serving."""
        if isinstance(given, str) and given not in self._names:
            why = f'Serving signature name: "{given:.80}" not found in signature def'
            raise InvalidRequest(why)

    def _form_of(self, document: Any) -> tuple[RequestForm, Validator]:
        """Return the form of a request; raises InvalidRequest if it has none, or two."""
        if not isinstance(document, dict):
            raise InvalidRequest("The JSON value is not an object.")
        keys = [key for key in ("instances", "inputs") if key in document]
        if not keys:
            raise InvalidRequest("Missing 'inputs' or 'instances' key")
        if len(keys) > 1:
            raise InvalidRequest("Expecting only one of 'inputs' or 'instances' keys to exist")
        value = document[keys[0]]
        if keys[0] == "instances":
            value = value[0] if isinstance(value, list) and value else None
        is_named = isinstance(value, dict) and not _is_b64(value)
        return self._forms.get((keys[0], is_named)) or self._forms[keys[0], True]

    def _expected(self, form: RequestForm) -> str:
        inputs = ", ".join(
            f'{spec.name}: {{"b64": "…"}}' if spec.name in self._files else str(spec)
            for spec in self._inputs
        )
        rows = "a list of rows" if form.is_row else "columns with the rows as their first axis"
        each = ", each" if form.is_row else ""
        named = f"{each} in an object keyed by input name" if form.is_named else ""
        return f"Expected {rows} in '{form.key}'{named} ({inputs}){self._hint}"

    def _tensors(self, form: RequestForm, value: Any, body: bytes) -> Tensors:
        arrays = {}
        for spec in self._inputs:
            column, path = _column_of(form, spec.name, value)
            try:
                arrays[spec.name] = _to_array(column, spec, path, body)
            except InvalidData as error:
                if form.is_named and form.is_row:
                    error.violations = [_in_row(each, spec.name) for each in error.violations]
                raise
        try:
            return Tensors(arrays)
        except RowCountMismatch:
            raise InvalidData("All inputs must have the same number of rows", []) from None


def encode_error(error: Exception, id_: str) -> EncodedError:  # noqa: ARG001  # errors of this dialect have no id
    """Return an error as `{"error": …}`."""
    return encode_plain_error(error)


def _named_alone(
    value: Any, is_named: bool, specs: Sequence[TensorSpec], names: frozenset[str]
) -> Any:
    """Return rows or columns with only the tensors of the signature, hidden ones without values."""
    if not is_named:
        return value
    if isinstance(value, list):
        return [named(row, specs, names) for row in value]
    return named(value, specs, names)


def _is_b64(value: dict[str, Any]) -> bool:
    return len(value) == 1 and isinstance(value.get("b64"), str)


def _column_of(form: RequestForm, name: str, value: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the rows of an input, and their path in the request."""
    if not form.is_named:
        return value, (form.key,)
    if form.is_row:
        return [row[name] for row in value], (form.key,)
    return value[name], (form.key, name)


def _in_row(violation: Violation, name: str) -> Violation:
    """Return a violation of a column, at `/instances/3/0`, as one of a row, `/instances/3/x/0`."""
    steps = violation.pointer.split("/")
    key = name.replace("~", "~0").replace("/", "~1")
    pointer = "/".join([*steps[:3], key, *steps[3:]]) if len(steps) > 2 else violation.pointer
    return Violation(shorten(pointer), violation.detail)


def _to_array(column: Any, spec: TensorSpec, path: tuple[str, ...], body: bytes) -> np.ndarray:
    if spec.dtype == "string":
        column = _without_b64(column)
    if spec.array_dtype.kind in "iu" and json_cells.has_floats(column, body):
        raise InvalidData(f"{spec.name} takes integers, without decimal point or exponent", [])
    return numbers.to_array(column, spec, path, shape=json_cells.shape_hint(spec, len(body)))


def _without_b64(cells: Any) -> Any:
    """Return nested lists of strings with base64 decoded; raises InvalidData."""
    if isinstance(cells, list):
        return [_without_b64(cell) for cell in cells]
    if isinstance(cells, str):
        return cells
    text = "".join(cells["b64"].split())  # white space, as in `base64.encodebytes`, is allowed
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)  # padding is optional
    except ValueError:
        raise InvalidData("Unable to base64 decode", []) from None


def _text(spec: TensorSpec, array: np.ndarray) -> bytes:
    """Return an output as JSON."""
    if spec.dtype != "string":
        return json_cells.dump_numbers(array)
    return orjson.dumps(_shown_strings(spec, array))


def _row_texts(spec: TensorSpec, array: np.ndarray) -> list[bytes]:
    """Return each row of an output as JSON."""
    if spec.dtype != "string":
        return json_cells.dump_rows(array)
    return [orjson.dumps(row) for row in _shown_strings(spec, array)]


def _shown_strings(spec: TensorSpec, array: np.ndarray) -> Any:
    to_json = _as_b64 if spec.name.endswith(BYTES_SUFFIX) else strings.to_json
    return to_json(array.tolist())


def _as_b64(cells: Any) -> Any:
    if isinstance(cells, list):
        return [_as_b64(cell) for cell in cells]
    return {"b64": base64.b64encode(cells).decode()}
