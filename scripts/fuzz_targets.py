"""The fuzz targets: every decoder, and the properties that must hold for any bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import jsonschema
import numpy as np
import orjson

from model.signature import Signature, TensorSpec
from model.tensors import merge
from scripts.fuzz_pictures import form, picture
from server.dialects.interface import DecodedRequest, Dialect
from server.dialects.native import npy
from server.dialects.native.dialect import NativeDialect
from server.dialects.tfserving.dialect import TFServingDialect
from server.dialects.v2.binary import LENGTH_HEADER
from server.dialects.v2.dialect import V2Dialect
from server.dialects.validation import Validator
from server.errors import InvalidData, InvalidJSON, InvalidRequest
from server.transport.llhttp.head import BadRequest, parse_head

REJECTIONS: Final = (InvalidData, InvalidJSON, InvalidRequest)
MAX_SECONDS: Final = 0.02  # for up to 4 KiB, with the fuzzer's instrumentation
TRIES: Final = 3  # another process may have slowed it down
MAX_BYTES: Final = 4096

# Inputs and outputs have the same names and shapes, so an answer can be sent as a request.
_X: Final = TensorSpec("x", (2,), "float32")
_IDS: Final = TensorSpec("ids", (None,), "int16", 0, 99)
_ONE: Final = Signature((_X,), (_X,))
_TWO: Final = Signature((_X, _IDS), (_X, _IDS))
_NPY: Final = {"content-type": npy.MEDIA_TYPE}

Headers = Mapping[str, str]


class Decoder:
    """A dialect under test; `again` turns the body of an answer into that of a request."""

    def __init__(self, dialect: Dialect, again: Callable[[bytes], bytes]) -> None:
        self._dialect = dialect
        self._again = again
        self._fast = Validator(dialect.schema)
        self._reference = jsonschema.Draft202012Validator(dialect.schema)

    def check(self, body: bytes, headers: Headers | None = None) -> None:
        """Decode a body; raises AssertionError, or any exception that is not a declared one."""
        headers = headers or {}
        decoded = self._decode(body, headers)
        if not headers:
            self._check_verdicts(body, is_decoded=decoded is not None)
        if decoded is not None:
            self._check_round_trip(decoded, headers)

    def _decode(self, body: bytes, headers: Headers) -> DecodedRequest | None:
        for _ in range(TRIES):
            started = time.thread_time()
            try:
                decoded = self._dialect.decode(body, headers)
            except REJECTIONS:
                decoded = None
            if len(body) > MAX_BYTES or time.thread_time() - started < MAX_SECONDS:
                return decoded
        raise AssertionError(f"{len(body)} bytes took longer than {MAX_SECONDS} s")

    def _check_verdicts(self, body: bytes, *, is_decoded: bool) -> None:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            assert not is_decoded
            return
        is_valid = self._fast.accepts(document)
        assert is_valid == _accepts(self._reference, document), "the validators disagree"
        assert is_valid or not is_decoded, "the published schema rejects what is decoded"

    def _check_round_trip(self, decoded: DecodedRequest, headers: Headers) -> None:
        encoded = self._dialect.encode(merge([decoded.tensors]), decoded)
        body = self._again(encoded.body) if not headers else encoded.body
        again = self._dialect.decode(body, headers)
        for name, array in decoded.tensors.arrays.items():
            np.testing.assert_array_equal(array, again.tensors.arrays[name])


def _accepts(reference: Any, document: Any) -> bool:
    try:
        return bool(reference.is_valid(document))
    except RecursionError:  # no valid request is that deep
        return False


def _renamed(**names: str) -> Callable[[bytes], bytes]:
    def again(body: bytes) -> bytes:
        answer = orjson.loads(body)
        return orjson.dumps({new: answer[old] for old, new in names.items() if old in answer})

    return again


_NATIVE: Final = Decoder(NativeDialect(_TWO), _renamed(prediction="data"))
_ARRAY: Final = Decoder(NativeDialect(_ONE), bytes)
_TFSERVING: Final = Decoder(
    TFServingDialect(_TWO), _renamed(predictions="instances", outputs="inputs")
)
_V2: Final = V2Dialect("m", "1", _TWO)
_V2_JSON: Final = Decoder(_V2, _renamed(outputs="inputs"))


def native(data: bytes) -> None:
    """Read `{"data": ...}`."""
    _NATIVE.check(data)


def tfserving(data: bytes) -> None:
    """Read TensorFlow Serving's rows and columns."""
    _TFSERVING.check(data)


def v2(data: bytes) -> None:
    """Read the Open Inference Protocol in JSON; `v2_binary` tests binary answers."""
    if b"binary_data" not in data and b'"outputs"' not in data and b"\\" not in data:
        _V2_JSON.check(data)
    else:
        v2_binary(len(data).to_bytes(2, "little") + data if len(data) < 65_536 else data)


def v2_binary(data: bytes) -> None:
    """Read the Open Inference Protocol with binary tensors after the JSON.

    The first two bytes are the length of the JSON, little-endian.
    """
    length, body = int.from_bytes(data[:2], "little"), data[2:]
    try:
        decoded = _V2.decode(body, {LENGTH_HEADER.lower(): str(length)})
    except REJECTIONS:
        return
    assert {len(array) for array in decoded.tensors.arrays.values()} == {len(decoded.tensors)}
    _V2.encode(merge([decoded.tensors]), decoded)


def array(data: bytes) -> None:
    """Read a file in numpy's format."""
    _ARRAY.check(data, _NPY)


def head(data: bytes) -> None:
    """Read the head of an HTTP request."""
    try:
        parse_head(data)
    except BadRequest:
        return


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "native": native,
    "tfserving": tfserving,
    "v2": v2,
    "v2_binary": v2_binary,
    "npy": array,
    "head": head,
    "form": form,
    "picture": picture,
}

# Targets whose input is JSON; in `v2_binary` the length of the JSON comes first.
HAVE_JSON: Final = ("native", "tfserving", "v2", "v2_binary")
