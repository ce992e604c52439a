"""Picture files as the body of a request, or as parts of a form."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson

from model.signature import Signature, TensorSpec
from model.tensors import Rows, Tensors
from server.dialects.interface import DecodedRequest, Encoded
from server.dialects.native import multipart
from server.dialects.native.codec import RequestForm
from server.dialects.native.json_codec import JsonCodec
from server.dialects.native.multipart import Part
from server.dialects.pictures.reader import Pictures
from server.errors import InvalidData, InvalidJSON

IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif")
OTHER_IMAGE_TYPES: Final = ("image/jpg", "image/pjpeg", "image/x-ms-bmp")  # of some clients
PICTURE: Final = "image/*"  # the media type in forms of requests, whatever the picture is
FORM: Final = multipart.MEDIA_TYPE
HOW_TO_SEND: Final = (
    f"Send a picture with its own Content-Type ({', '.join(IMAGE_TYPES)}), as a part of {FORM}, "
    'or in JSON as {"data": {"b64": "…"}}.'
)
_PLACEHOLDER: Final = {"b64": ""}  # stands for a file while the rest is checked


class PictureCodec:
    """Reads a body that is one picture; answers are JSON."""

    def __init__(self, pictures: Pictures, answers: JsonCodec) -> None:
        self._pictures = pictures
        self._answers = answers

    def decode(self, body: bytes) -> DecodedRequest:
        """Read one picture; raises InvalidData."""
        [name] = self._pictures.names
        files = Tensors({name: _cells([body])})
        return self._pictures.decoded(DecodedRequest(files, RequestForm(PICTURE, single=True)))

    def answer_bytes(self, rows: int, form: RequestForm) -> int:
        """Return the most bytes that an answer with so many rows can have, as far as known."""
        return self._answers.answer_bytes(rows, form)

    def encode(self, answer: Rows, form: RequestForm) -> Encoded:
        """Write an answer in JSON; raises NonFiniteOutput."""
        return self._answers.encode(answer, form)

    def input_excerpt(self, body: bytes) -> bytes:  # noqa: ARG002  # Codec's
        """Return null: files are not logged."""
        return b"null"

    def answer_excerpt(self, answer: bytes) -> bytes:
        """Return the prediction."""
        return self._answers.answer_excerpt(answer)


class FormCodec(PictureCodec):
    """Reads forms: a part for each input, or several of each for a batch."""

    def __init__(
        self, signature: Signature, pictures: Pictures, answers: JsonCodec, files: JsonCodec
    ) -> None:
        """Make a codec that validates all but pictures as `files`, the codec of JSON, does."""
        super().__init__(pictures, answers)
        self._inputs = signature.inputs
        self._files = files
        expected = ", ".join(self._shown(spec) for spec in signature.inputs)
        self._expected = f"Expected one part for each input, or several for a batch: {expected}"

    def decode_form(self, body: bytes, content_type: str) -> DecodedRequest:
        """Read a form; raises InvalidRequest, InvalidJSON and InvalidData."""
        parts = self._by_input(multipart.parts_of(body, content_type))
        single = all(len(each) == 1 for each in parts.values())
        columns = {spec.name: self._column(spec, parts[spec.name]) for spec in self._inputs}
        data: Any = {name: column[0] if single else column for name, column in columns.items()}
        if len(self._inputs) == 1:
            [data] = data.values()
        try:
            request = self._files.decode_document({"data": data}, len(body))
        except InvalidData as error:
            raise InvalidData(self._expected, error.violations) from None
        arrays = dict(request.tensors.arrays)
        for name in self._pictures.names:
            arrays[name] = _cells([part.body for part in parts[name]])
        form = RequestForm(FORM, single)
        return self._pictures.decoded(DecodedRequest(Tensors(arrays), form))

    def _by_input(self, parts: list[Part]) -> dict[str, list[Part]]:
        """Return the parts by input; the only input may have any name. Raises InvalidData."""
        names = [spec.name for spec in self._inputs]
        found: dict[str, list[Part]] = {}
        for part in parts:
            found.setdefault(part.name, []).append(part)
        if len(names) == 1 and len(found) == 1:
            return {names[0]: parts}
        for name in found:
            if name not in names:
                raise InvalidData(
                    f"The model has no input {name!r:.80}; its inputs are {', '.join(names)}", []
                )
        if missing := [name for name in names if name not in found]:
            raise InvalidData(f"The form has no part for the input {missing[0]}", [])
        counts = {name: len(found[name]) for name in names}
        if len({*counts.values()}) > 1:
            shown = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise InvalidData(f"The form needs as many parts for each input, not {shown}", [])
        return found

    def _column(self, spec: TensorSpec, parts: list[Part]) -> list[Any]:
        """Return what the parts of an input are in JSON; raises InvalidJSON and InvalidData."""
        if spec.name in self._pictures.names:
            return [_PLACEHOLDER] * len(parts)
        cells = [_text(part) if _is_text(spec) else _json(part) for part in parts]
        # An input of one element needs no list in a form.
        is_bare = spec.shape == (1,)
        return [[cell] if is_bare and not isinstance(cell, list) else cell for cell in cells]

    def _shown(self, spec: TensorSpec) -> str:
        """Return an input for messages, with what its parts are."""
        if spec.name in self._pictures.names:
            return f"{spec.name}: a picture file"
        return f"{spec.name}: text" if _is_text(spec) else f"{spec} in JSON"


def _is_text(spec: TensorSpec) -> bool:
    return spec.dtype == "string" and spec.shape in ((), (1,))


def _text(part: Part) -> str:
    """Return the text of a part; raises InvalidData."""
    try:
        return part.body.decode()
    except UnicodeDecodeError:
        raise InvalidData(f"A part for {part.name:.80} is not text in UTF-8", []) from None


def _json(part: Part) -> Any:
    """Return the value of a part; raises InvalidJSON."""
    try:
        return orjson.loads(part.body)
    except orjson.JSONDecodeError as error:
        raise InvalidJSON(f"A part for {part.name:.80} is not valid JSON: {error}") from None


def _cells(files: list[bytes]) -> np.ndarray:
    array = np.empty(len(files), object)
    array[:] = files
    return array
