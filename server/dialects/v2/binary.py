"""Binary tensors after the JSON: Triton's binary tensor data extension of the V2 protocol.

They are little-endian, row-major and without padding, in the order of the inputs in the request. An
element of BYTES is its length in 4 bytes, followed by its bytes.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import numpy as np

from model.signature import TensorSpec
from server.dialects.cells import numbers
from server.dialects.interface import Headers
from server.errors import InvalidData, InvalidRequest

LENGTH_HEADER: Final = "Inference-Header-Content-Length"
_LENGTH: Final = struct.Struct("<I")


def json_length(size: int, headers: Headers) -> int:
    """Return how many bytes of a body of `size` bytes are JSON; raises InvalidRequest."""
    given = headers.get(LENGTH_HEADER.lower(), "")
    if not given:
        return size
    if not (given.isascii() and given.isdigit() and len(given) < 20 and int(given) <= size):
        raise InvalidRequest(f"{LENGTH_HEADER} must be the length of the JSON in the body.")
    if not int(given):
        raise InvalidRequest("Requests without JSON (raw binary requests) are not supported.")
    return int(given)


def valid_json_length(size: int, headers: Headers) -> int:
    """Return how many bytes of a body of `size` bytes are JSON; 0 if the header is invalid."""
    try:
        return json_length(size, headers)
    except InvalidRequest:
        return 0


def check_size(spec: TensorSpec, shape: tuple[int, ...], size: Any) -> int:
    """Return `size`, the `binary_data_size` of a tensor.

    Raises InvalidData unless it is a number of bytes that fits the shape.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidData("binary_data_size must be a number of bytes", [])
    needed = math.prod(shape) * spec.array_dtype.itemsize
    if spec.dtype != "string" and size != needed:
        message = f"The shape of {spec.name} needs {needed!s:.40} bytes, not {size}"
        raise InvalidData(message, [])
    return size


class Tails:
    """Reads the tensors after the JSON, one after another."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self._position = start

    def take(self, spec: TensorSpec, shape: tuple[int, ...], size: int) -> np.ndarray:
        """Return the next tensor, as a view of the body if possible; `size` is checked already.

        Raises InvalidData if the body is too short.
        """
        start, stop = self._position, self._position + size
        if stop > len(self._body):
            message = f"Body too short: the data of input {spec.name} ends after the body"
            raise InvalidData(message, [])
        self._position = stop
        count = math.prod(shape)
        if spec.dtype == "string":
            return _strings(self._body[start:stop], spec, count).reshape(shape)
        array = self._numbers(spec.array_dtype, count, start).reshape(shape)
        numbers.check_range(array, spec)
        return array

    def check_end(self) -> None:
        """Raise InvalidData if bytes are left after the last tensor."""
        if self._position != len(self._body):
            left = len(self._body) - self._position
            raise InvalidData(f"The body has {left} bytes after the last input", [])

    def _numbers(self, dtype: np.dtype, count: int, start: int) -> np.ndarray:
        if dtype.kind == "b":
            cells = np.frombuffer(self._body, np.uint8, count, start)
            if cells.max() > 1:
                raise InvalidData("The elements of BOOL must be bytes of 0 or 1", [])
            return cells.view(np.bool)
        cells = np.frombuffer(self._body, dtype.newbyteorder("<"), count, start)
        if cells.flags.aligned and cells.dtype.isnative:
            return cells
        return cells.astype(dtype)  # unaligned after the JSON, or a big-endian machine


def to_bytes(array: np.ndarray) -> bytes:
    """Return the bytes of a tensor."""
    if array.dtype.hasobject:
        return b"".join([_LENGTH.pack(len(cell)) + cell for cell in array.ravel().tolist()])
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _strings(data: bytes, spec: TensorSpec, count: int) -> np.ndarray:
    if 4 * count > len(data):  # checked before anything is allocated
        raise InvalidData(f"The data of {spec.name} has fewer elements than its shape", [])
    array = np.empty(count, object)
    position, end, length_at = 0, len(data), _LENGTH.unpack_from
    for index in range(count):
        start = position + 4
        if start > end:
            raise InvalidData(f"The data of {spec.name} has fewer elements than its shape", [])
        [length] = length_at(data, position)
        position = start + length
        if position > end:
            raise InvalidData(f"An element of {spec.name} is longer than the rest of its data", [])
        array[index] = data[start:position]
    if position != end:
        raise InvalidData(f"The data of {spec.name} is longer than its {count} elements", [])
    return array
