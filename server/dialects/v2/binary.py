"""Tensors in bytes behind the JSON: Triton's binary tensor data extension of the V2 protocol.

Little-endian, row by row, without padding; an element of BYTES is its length in 4 bytes and then
its bytes. In a request they stand in the order of the inputs.
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


def json_length(body: bytes, headers: Headers) -> int:
    """Return how much of a body is JSON; raises InvalidRequest."""
    given = headers.get(LENGTH_HEADER.lower(), "")
    if not given:
        return len(body)
    if not (given.isascii() and given.isdigit() and len(given) < 20 and int(given) <= len(body)):
        raise InvalidRequest(f"{LENGTH_HEADER} must be the length of the JSON in the body.")
    if not int(given):
        raise InvalidRequest("Tensors without JSON before them (raw requests) are not read here.")
    return int(given)


def check_size(spec: TensorSpec, shape: tuple[int, ...], size: Any) -> int:
    """Return `size`, what a client says that a tensor has in bytes.

    Raises InvalidData when it is no such number, or not what its shape needs.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidData("binary_data_size must be a number of bytes", [])
    needed = math.prod(shape) * spec.array_dtype.itemsize
    if spec.dtype != "string" and size != needed:
        message = f"The shape of {spec.name} needs {needed!s:.40} bytes, and {size} are there"
        raise InvalidData(message, [])
    return size


class Tails:
    """The bytes behind the JSON, taken one tensor after another."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self._position = start

    def take(self, spec: TensorSpec, shape: tuple[int, ...], size: int) -> np.ndarray:
        """Return the next tensor, of a size that was checked: a view of the body where possible.

        Raises InvalidData when there are fewer bytes.
        """
        start, stop = self._position, self._position + size
        if stop > len(self._body):
            raise InvalidData(f"The body has fewer bytes than {spec.name} and those before say", [])
        self._position = stop
        count = math.prod(shape)
        if spec.dtype == "string":
            return _strings(self._body[start:stop], spec, count).reshape(shape)
        array = self._numbers(spec.array_dtype, count, start).reshape(shape)
        numbers.check_range(array, spec)
        return array

    def check_end(self) -> None:
        """Raise InvalidData when bytes are left that belong to no tensor."""
        if self._position != len(self._body):
            left = len(self._body) - self._position
            raise InvalidData(f"The body has {left} bytes that belong to no input", [])

    def _numbers(self, dtype: np.dtype, count: int, start: int) -> np.ndarray:
        if dtype.kind == "b":
            cells = np.frombuffer(self._body, np.uint8, count, start)
            if cells.max() > 1:
                raise InvalidData("An element of BOOL is a byte of 0 or 1", [])
            return cells.view(np.bool)
        cells = np.frombuffer(self._body, dtype.newbyteorder("<"), count, start)
        if cells.flags.aligned and cells.dtype.isnative:
            return cells
        return cells.astype(dtype)  # the JSON's length leaves it unaligned, or the machine differs


def to_bytes(array: np.ndarray) -> bytes:
    """Return a tensor's bytes."""
    if array.dtype.hasobject:
        return b"".join([_LENGTH.pack(len(cell)) + cell for cell in array.ravel().tolist()])
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _strings(data: bytes, spec: TensorSpec, count: int) -> np.ndarray:
    if 4 * count > len(data):  # before anything is allocated
        raise InvalidData(f"The shape of {spec.name} needs more elements than there are", [])
    array = np.empty(count, object)
    position, end, length_at = 0, len(data), _LENGTH.unpack_from
    for index in range(count):
        start = position + 4
        if start > end:
            raise InvalidData(f"The shape of {spec.name} needs more elements than there are", [])
        [length] = length_at(data, position)
        position = start + length
        if position > end:
            raise InvalidData(f"An element of {spec.name} is longer than what is there", [])
        array[index] = data[start:position]
    if position != end:
        raise InvalidData(f"{spec.name} has more bytes than its {count} elements", [])
    return array
