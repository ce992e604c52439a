"""The fuzz targets of pictures and forms, and the properties that must hold for any bytes."""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

import server.dialects.pictures.files  # noqa: F401  # else it is imported where the fuzzer does not look
from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.config import PredictSettings
from server.config.inputs import ImageSettings, InputSettings
from server.dialects.interface import DecodedRequest, Dialect, Headers
from server.dialects.native import multipart
from server.dialects.native.dialect import encode_error
from server.dialects.native.multipart import Part
from server.dialects.table import Dialects
from server.dialects.v2.binary import LENGTH_HEADER
from server.errors import InvalidData, InvalidJSON, InvalidRequest, UnsupportedMediaType

REJECTIONS: Final = (InvalidData, InvalidJSON, InvalidRequest, UnsupportedMediaType)
STATUSES: Final = (400, 413, 415, 422)
MAX_PIXELS: Final = 10_000
MAX_GROWTH: Final = 16 * 2**20  # bytes; the pixels take 0.2 MiB, profiles and texts up to 4 MiB
MAX_SECONDS: Final = 0.2  # for up to 4 KiB, with the fuzzer's instrumentation
TRIES: Final = 3  # the first one may import, and another process may have slowed it down

_PROCESS: Final = Path("/proc/self")  # of Linux; elsewhere memory is not looked at
_RESET_PEAK: Final = b"5"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_JSON: Final = {"content-type": "application/json"}
_PNG: Final = {"content-type": "image/png"}
_BOUNDARY: Final = b"another-boundary"
_OUTPUTS: Final = (TensorSpec("y", (1,), "float32"),)
_IMAGE: Final = TensorSpec("image", (24, 32, 3), "float32")
_INPUTS: Final = (_IMAGE, TensorSpec("age", (1,), "float32"), TensorSpec("text", (), "string"))


def _dialects(*inputs: TensorSpec, **image: Any) -> Dialects:
    settings = (InputSettings("image", ImageSettings.of(image)),)
    limits = PredictSettings(max_image_pixels=MAX_PIXELS)
    return Dialects("m", "1", Signature(inputs, _OUTPUTS), limits, inputs=settings)


_FORMS: Final = _dialects(*_INPUTS).native
_PICTURES: Final = _dialects(_IMAGE, scale=0.5, offset=-1)
_OTHERS: Final = (
    (_IMAGE, _dialects(_IMAGE, method="tf_bilinear", fit="pad", exif=True)),
    (_IMAGE, _dialects(_IMAGE, method="nearest", fit="crop", draft=True)),
    *(
        (spec, _dialects(spec, exif=True))
        for spec in (
            TensorSpec("image", (None, None, 3), "uint8"),
            TensorSpec("image", (None, None), "int32"),
            TensorSpec("image", (4, 8, 8), "float16"),
        )
    ),
)


def form(data: bytes) -> None:
    """Read a form with three inputs; its first line is the rest of its Content-Type."""
    line, _, body = data.partition(b"\n")
    headers = {"content-type": multipart.MEDIA_TYPE + line.decode("latin-1")}
    decoded = _decoded(_FORMS, body, headers)
    with contextlib.suppress(InvalidRequest):
        _check_form_again(multipart.parts_of(body, headers["content-type"]))
    if decoded is None:
        return
    arrays = decoded.tensors.arrays
    assert {*arrays} == {spec.name for spec in _INPUTS}
    for spec in _INPUTS:
        _check_array(arrays[spec.name], spec, len(decoded.tensors))
    _check_answer(_FORMS, decoded, body)


def picture(data: bytes) -> None:
    """Read a picture as the body, in JSON and in binary, and for other inputs and settings."""
    text = base64.b64encode(data).decode()
    native, v2 = _PICTURES.native, _PICTURES.by_name["v2"]
    as_body = _decoded(native, data, _PNG)
    in_json = _decoded(native, orjson.dumps({"data": {"b64": text}}), _JSON)
    in_binary = _decoded(v2, *_as_tensor(data))
    if as_body is None:
        assert in_json is None
        assert in_binary is None
    else:
        _check_answer(native, as_body, data)
        rows = as_body.tensors.arrays["image"]
        _check_array(rows, _IMAGE, 1)
        for other in (in_json, in_binary):
            assert other is not None
            assert np.array_equal(other.tensors.arrays["image"], rows)
    for spec, dialects in _OTHERS:
        decoded = _decoded(dialects.native, data, _PNG)
        if decoded is not None:
            _check_array(decoded.tensors.arrays["image"], spec, 1)


def with_checksums(data: bytes) -> bytes:
    """Return a PNG with the checksums that its chunks should have; other files unchanged."""
    if not data.startswith(_PNG_START):
        return data
    changed, position = bytearray(data), len(_PNG_START)
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4])
        if end + 4 <= len(data):
            changed[end : end + 4] = zlib.crc32(data[position + 4 : end]).to_bytes(4)
        position = end + 4
    return bytes(changed)


def _as_tensor(file: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a request of the Open Inference Protocol with a file in binary."""
    size = len(file) + 4
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    head = orjson.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": size}}]})
    body = head + len(file).to_bytes(4, "little") + file
    return body, {LENGTH_HEADER.lower(): str(len(head))}


def _decoded(dialect: Dialect, body: bytes, headers: Headers) -> DecodedRequest | None:
    """Return a request, or None if it was rejected; raises AssertionError."""
    for _ in range(TRIES):
        started = time.thread_time()
        before = _reset_peak()
        with _quiet():
            decoded = _try(dialect, body, headers)
        growth = 0 if before is None else _peak() - before
        seconds = time.thread_time() - started
        if growth < MAX_GROWTH and seconds < MAX_SECONDS:
            return decoded
    raise AssertionError(f"{len(body)} bytes took {growth} bytes of memory, and {seconds} s")


def _try(dialect: Dialect, body: bytes, headers: Headers) -> DecodedRequest | None:
    try:
        dialect.check(headers)
        assert dialect.holds_pictures(body, headers), "the event loop would decode it"
        return dialect.decode(body, headers)
    except REJECTIONS as error:
        rejection = error
    assert encode_error(rejection, "an-id").status in STATUSES
    return None


def _check_array(array: np.ndarray, spec: TensorSpec, rows: int) -> None:
    assert array.dtype == spec.array_dtype
    assert len(array) == rows
    assert array.ndim == spec.rank + 1
    for size, known in zip(array.shape[1:], spec.shape, strict=True):
        assert size >= 1
        assert known in (None, size)
    if spec.rank > 1:
        assert array.size <= MAX_PIXELS * 4


def _check_answer(dialect: Dialect, decoded: DecodedRequest, body: bytes) -> None:
    answer = Tensors({"y": np.ones((len(decoded.tensors), 1), np.float32)})
    assert dialect.encode(answer, decoded).body.startswith(b'{"prediction":')
    assert dialect.input_excerpt(decoded, body) == b"null"


def _check_form_again(parts: list[Part]) -> None:
    """Check that the parts of a form are the same when they are sent as browsers do it."""
    pieces = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (_BOUNDARY, _escaped(part.name), part.body)
        for part in parts
    ]
    body = b"".join([*pieces, b"--%b--\r\n" % _BOUNDARY])
    is_plain = not any(escape in part.name for part in parts for escape in ("%22", "%0D", "%0A"))
    has_room = body.count(_BOUNDARY) == len(parts) + 1 and len(body) <= multipart.MAX_HEADER
    if is_plain and has_room:
        content_type = f"{multipart.MEDIA_TYPE}; boundary={_BOUNDARY.decode()}"
        assert multipart.parts_of(body, content_type) == parts


def _escaped(name: str) -> bytes:
    for character, escape in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A"), ("\\", "\\\\")):
        name = name.replace(character, escape)
    return name.encode()


def _reset_peak() -> int | None:
    """Return the bytes of resident memory; None if the most that it takes cannot be looked at."""
    try:
        (_PROCESS / "clear_refs").write_bytes(_RESET_PEAK)
    except OSError:
        return None
    return _peak()


def _peak() -> int:
    """Return the most bytes of resident memory since `_reset_peak`."""
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Raise AssertionError if anything is printed, logged or warned of."""
    printed, logged = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(logged)
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        with (
            contextlib.redirect_stderr(printed),
            contextlib.redirect_stdout(printed),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("error")
            yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert not printed.getvalue(), printed.getvalue()
    assert not logged.getvalue(), logged.getvalue()
