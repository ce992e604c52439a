"""The native dialect: `{"data": …}` to `{"prediction": …}`, or arrays of numpy both ways.

Data of the model's input rank is one example, one rank more is a batch of examples. An output whose
signature shape is exactly `[1]` is answered as a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs

import orjson

from model.signature import Signature
from model.tensors import Rows
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
from server.dialects.json_body import coding_of
from server.dialects.labels import NO_LABELS, Labels
from server.dialects.native import json_codec, npy
from server.dialects.native.codec import Codec, RequestForm
from server.dialects.native.json_codec import MEDIA_TYPE, JsonCodec
from server.dialects.native.npy import NpyCodec
from server.dialects.native.pictures import (
    FORM,
    HOW_TO_SEND,
    IMAGE_TYPES,
    OTHER_IMAGE_TYPES,
    PICTURE,
    FormCodec,
    PictureCodec,
)
from server.dialects.native.schema import answer_schema, request_schema
from server.dialects.not_json import advice
from server.dialects.pictures.either import B64, Either
from server.dialects.pictures.reader import Pictures
from server.dialects.redaction import named, redact
from server.errors import InvalidData, InvalidRequest, UnsupportedMediaType
from server.problems import detail_of, headers_of, problem_of

NAME: Final = "native"
RAW: Final = "raw"  # the parameter in a query
_IMAGES: Final = frozenset({*IMAGE_TYPES, *OTHER_IMAGE_TYPES})
_FILE_TYPES: Final = frozenset({*_IMAGES, FORM})


def encode_error(error: Exception, id_: str) -> EncodedError:
    """Return an error as a problem document (RFC 9457); `instance` is the request's id."""
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
    return EncodedError(what.status.value, orjson.dumps(document), headers)


class NativeDialect:
    """Decodes and encodes for one signature; `decode` chooses the codec, which the form keeps.

    Attributes:
        json: the codec of JSON.
        labels: those of outputs that are answered as labels, by name.
        schema: the JSON Schema of a request.
        answer_schema: the JSON Schema of an answer.
    """

    name = NAME

    def __init__(
        self,
        signature: Signature,
        *,
        non_finite_as_null: bool = False,
        labels: Mapping[str, Labels] = NO_LABELS,
        pictures: Pictures | None = None,
    ) -> None:
        self._signature = signature
        self.labels = labels
        self._pictures = pictures = pictures or Pictures(signature)
        told = pictures.advice(HOW_TO_SEND)
        self._advice = advice(signature.inputs, npy.advice(signature), told)
        codec = partial(JsonCodec, non_finite_as_null=non_finite_as_null, labels=labels)
        hint = ' A picture is sent as {"b64": "…"}.' if pictures else ""
        self.json = codec(signature, advice=self._advice, hint=hint)
        files = self.json
        if pictures.names:
            files = codec(pictures.as_files, advice=self._advice, files=pictures.names)
        self._npy = NpyCodec(signature)
        self._picture = PictureCodec(pictures, self.json)
        self._form = FormCodec(signature, pictures, self.json, files)
        self._either = Either(pictures, B64, self.json.decode, files.decode)
        self._codecs: dict[str, Codec] = {
            MEDIA_TYPE: self.json,
            npy.MEDIA_TYPE: self._npy,
            PICTURE: self._picture,
            FORM: self._form,
        }
        self.schema = request_schema(
            signature.inputs, pictures.as_files.inputs, pictures.names if pictures else frozenset()
        )
        self.answer_schema = answer_schema(signature.outputs, labels, nullable=non_finite_as_null)

    def check(self, headers: Headers) -> None:
        """Raise UnsupportedMediaType unless the body is JSON or an array, in a known coding."""
        given = headers.get("content-type", "")
        if given != MEDIA_TYPE:
            self._check_media_type(given)
        coding_of(headers)

    def decode(self, body: bytes, headers: Headers = NO_HEADERS) -> DecodedRequest:
        """Read a request.

        Raises:
            InvalidJSON: the body is no JSON (RFC 8259), or nested too deep.
            InvalidRequest: it is no array where its media type says so.
            InvalidData: it is not what the model takes.
        """
        given = headers.get("content-type", MEDIA_TYPE)
        if given == MEDIA_TYPE:
            return self._decode_json(body)
        media_type = _media_type(given)
        if media_type == npy.MEDIA_TYPE:
            return self._npy.decode(body)
        if media_type == FORM:
            return self._form.decode_form(body, given)
        if media_type in _IMAGES:
            return self._picture.decode(body)
        return self._decode_json(body)

    def holds_pictures(self, body: bytes, headers: Headers) -> bool:
        """Return whether a body may have picture files."""
        if not self._pictures:
            return False
        given = headers.get("content-type", MEDIA_TYPE)
        if given != MEDIA_TYPE and _media_type(given) in _FILE_TYPES:
            return True
        return self._either.may_hold_files(body)

    def _decode_json(self, body: bytes) -> DecodedRequest:
        return self._either.decode(body) if self._pictures.names else self.json.decode(body)

    def with_query(self, request: DecodedRequest, query: str) -> DecodedRequest:
        """Return a request with what its query asks for: `raw=true`; raises InvalidRequest."""
        given = parse_qs(query, keep_blank_values=True).get(RAW)
        if given is None:
            return request
        if given[-1] not in ("true", "false"):
            raise InvalidRequest(f"The parameter {RAW} must be true or false.")
        return request._replace(form=request.form._replace(raw=given[-1] == "true"))

    def decodes_slowly(self, nbytes: int, headers: Headers) -> bool:
        """Return whether a body is long JSON; arrays are copied at most."""
        return nbytes >= SLOW_JSON and not _is_npy(headers)

    def answer_bytes(self, request: DecodedRequest) -> int:
        """Return the most bytes that the answer can have, as far as they are known."""
        form: RequestForm = request.form
        return self._codecs[form.media_type].answer_bytes(len(request.tensors), form)

    def encode(self, answer: Rows, request: DecodedRequest) -> Encoded:
        """Write an answer in the form of its request; raises NonFiniteOutput."""
        form: RequestForm = request.form
        return self._codecs[form.media_type].encode(answer, form)

    def encodes_slowly(self, request: DecodedRequest, nbytes: int) -> bool:
        """Return whether an answer is long JSON, or a very long array."""
        is_json = request.form.media_type == MEDIA_TYPE
        return nbytes >= (SLOW_JSON if is_json else SLOW_BINARY)

    def input_excerpt(self, request: DecodedRequest, body: bytes) -> bytes:
        """Return the data of a request, as JSON, for the payload log."""
        return self._codecs[request.form.media_type].input_excerpt(body)

    def answer_excerpt(self, request: DecodedRequest, answer: bytes) -> bytes:
        """Return the prediction, as JSON, for the payload log."""
        return self._codecs[request.form.media_type].answer_excerpt(answer)

    def redacted(self, side: Side, text: bytes, names: frozenset[str]) -> bytes:
        """Return the data, or the prediction, without the values of the tensors in `names`."""
        specs = self._signature.inputs if side == "input" else self._signature.outputs

        def show(value: Any) -> Any:
            return named(value, specs, names) if len(specs) > 1 else value

        return redact(text, specs, names, show)

    def example(self, rows: int | None = None, *, variable_size: int = 2) -> bytes:
        """Return the body of a valid request: one example, or a batch of `rows`."""
        return json_codec.example(self._signature, rows, variable_size)

    def request_body(self, rows: Rows, *, single: bool = False) -> bytes:
        """Return the body of a request for these rows; `single`: for the one row of them."""
        return json_codec.request_body(self._signature, rows, single=single)

    def _check_media_type(self, given: str) -> None:
        media_type = _media_type(given)
        if media_type in (MEDIA_TYPE, npy.MEDIA_TYPE):
            return
        if media_type in _FILE_TYPES:
            self._check_pictures(media_type)
            return
        raise UnsupportedMediaType(
            f"Send the header Content-Type: {MEDIA_TYPE}, not {media_type[:80] or 'none'}. "
            f"{self._advice.picture if self._pictures else self._advice.file}",
            self._picture_types(),
        )

    def _check_pictures(self, media_type: str) -> None:
        """Raise UnsupportedMediaType unless the model takes pictures in this way."""
        if not self._pictures:
            raise UnsupportedMediaType(self._advice.picture)
        if media_type != FORM and len(self._signature.inputs) > 1:
            raise UnsupportedMediaType(
                f"The model has several inputs, so send {FORM}, with a part for "
                "each input, or JSON with pictures in base64.",
                self._picture_types(),
            )

    def _picture_types(self) -> tuple[str, ...]:
        """Return the media types of bodies with pictures that the model takes."""
        if not self._pictures:
            return ()
        return (*IMAGE_TYPES, FORM) if len(self._signature.inputs) == 1 else (FORM,)


def _is_npy(headers: Headers) -> bool:
    given = headers.get("content-type", MEDIA_TYPE)
    return given != MEDIA_TYPE and _media_type(given) == npy.MEDIA_TYPE


def _media_type(given: str) -> str:
    return given.partition(";")[0].strip().lower()
