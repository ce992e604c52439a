"""The messages between the main process and a model process, over their Unix socket.

A message consists of the length of its header and the length of its payload (two little-endian
unsigned 32-bit integers), the header, and the payload. The header is JSON: `kind`, the fields of
this kind, and `tensors`, which holds dtype, shape and size in bytes of each array. The payload
holds the arrays one after another, each padded to a multiple of 8 bytes. If the arrays have more
than `INLINE_BYTES` in total, they are in shared memory instead, each at a multiple of 64 bytes, and
the header has `"shared": true`.

Numbers are in C order and the machine's byte order. Strings are in the BYTES form of the Open
Inference Protocol: each is a little-endian unsigned 32-bit length, followed by the bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from model.signature import DTYPES

INLINE_BYTES: Final = 64 * 2**10
PREFIX: Final = struct.Struct("<II")
MAX_HEADER_BYTES: Final = 4 * 2**20
MAX_PAYLOAD_BYTES: Final = 2**32 - 1
MAX_SMALL_PAYLOAD_BYTES: Final = 2 * 2**20  # with shared memory: 64 KiB, and padding
MAX_RANK: Final = 32  # numpy cannot iterate over the cells of arrays with more dimensions
STRING: Final = "string"

_MAX_CELL_BYTES: Final = 2**63 - 1  # numpy's limit for all cells of an array together
_SHOWN: Final = 80  # most characters of a quoted error
_LENGTH: Final = struct.Struct("<I")
_INLINE_ALIGNMENT: Final = 8
_SHARED_ALIGNMENT: Final = 64  # TensorFlow uses an array in place if it begins at a multiple of it


class MessageError(Exception):
    """A message is invalid, or cannot be made."""


class ArraySpec(NamedTuple):
    """How an array is transferred: numpy's name of its dtype or "string", shape, size in bytes."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int


class Header(NamedTuple):
    """A message without the contents of its arrays."""

    kind: str
    fields: Mapping[str, Any]
    specs: tuple[ArraySpec, ...]
    shared: bool


class Message(NamedTuple):
    """A message that has arrived."""

    kind: str
    fields: Mapping[str, Any]
    arrays: list[np.ndarray]


class Region(Protocol):
    """Shared memory that arrays can be written into."""

    def reserve(self, nbytes: int) -> memoryview:
        """Return at least `nbytes` bytes of it, writable."""


_NO_FIELDS: Final[Mapping[str, Any]] = MappingProxyType({})


def pack(
    kind: str,
    arrays: Sequence[np.ndarray] = (),
    region: Region | None = None,
    fields: Mapping[str, Any] = _NO_FIELDS,
) -> bytes:
    """Return a message; large arrays are written into `region`, if it is given."""
    wires = [pack_strings(array) if array.dtype.hasobject else array for array in arrays]
    specs = tuple([spec_of(array, wire) for array, wire in zip(arrays, wires, strict=True)])
    total = sum([spec.nbytes for spec in specs])
    if region is None or total <= INLINE_BYTES:
        payload = b"".join(_padded(wires))
        return _framed(header_bytes(kind, specs, False, fields), payload)
    targets = views(region.reserve(shared_size(specs)), specs)
    for wire, target in zip(wires, targets, strict=True):
        if isinstance(wire, bytes):
            target[:] = np.frombuffer(wire, np.uint8)
        else:
            target[...] = wire
    return _framed(header_bytes(kind, specs, True, fields), b"")


def pack_shared(kind: str, specs: tuple[ArraySpec, ...]) -> bytes:
    """Return a message whose arrays have been written into shared memory already."""
    return _framed(header_bytes(kind, specs, True, _NO_FIELDS), b"")


def spec_of(array: np.ndarray, wire: np.ndarray | bytes) -> ArraySpec:
    """Return how an array is transferred; `wire` is the array itself, or its packed strings."""
    if isinstance(wire, bytes):
        return ArraySpec(STRING, array.shape, len(wire))
    return ArraySpec(name_of(array.dtype), array.shape, array.nbytes)


@lru_cache(maxsize=64)
def name_of(dtype: np.dtype) -> str:
    """Return numpy's name of a dtype; cached, because numpy takes a microsecond to make it."""
    if dtype.name not in DTYPES:
        raise MessageError(f"arrays of {dtype.name} are not transferred")
    return dtype.name


def pack_strings(array: np.ndarray) -> bytes:
    """Return strings, `str` or `bytes`, in the BYTES form of the Open Inference Protocol."""
    pieces: list[bytes] = []
    for cell in array.flat:
        data = cell if isinstance(cell, bytes) else cell.encode()
        pieces += (_LENGTH.pack(len(data)), data)
    return b"".join(pieces)


def unpack_strings(data: memoryview, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of `bytes`; raises MessageError unless `data` holds exactly these strings."""
    cells, position = [], 0
    for _ in range(count_of(shape)):
        if position + _LENGTH.size > len(data):
            raise MessageError("strings end early")
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        if position + length > len(data):
            raise MessageError("a string ends early")
        cells.append(bytes(data[position : position + length]))
        position += length
    if position < len(data):
        raise MessageError("there are bytes after the last string")
    array = np.empty(len(cells), object)
    array[:] = cells
    return array.reshape(shape)


def count_of(shape: Sequence[int]) -> int:
    """Return how many cells an array of this shape has."""
    count = 1
    for size in shape:
        count *= size
    return count


def header_bytes(
    kind: str, specs: tuple[ArraySpec, ...], shared: bool, fields: Mapping[str, Any]
) -> bytes:
    """Return a header; those without fields are cached, because making one takes 5 µs."""
    return (
        _remembered_header(kind, specs, shared)
        if not fields
        else _header(kind, specs, shared, fields)
    )


@lru_cache(maxsize=256)
def _remembered_header(kind: str, specs: tuple[ArraySpec, ...], shared: bool) -> bytes:
    return _header(kind, specs, shared, _NO_FIELDS)


def _header(
    kind: str, specs: tuple[ArraySpec, ...], shared: bool, fields: Mapping[str, Any]
) -> bytes:
    return json.dumps({**fields, "kind": kind, "tensors": specs, "shared": shared}).encode()


def parse_prefix(data: bytes, position: int, max_payload: int) -> tuple[int, int]:
    """Return the sizes of header and payload; raises MessageError when they are too large."""
    header_size, payload_size = PREFIX.unpack_from(data, position)
    if header_size > MAX_HEADER_BYTES or payload_size > max_payload:
        raise MessageError(f"too long: {header_size} bytes of header, {payload_size} of payload")
    return header_size, payload_size


def parse_header(data: bytes) -> Header:
    """Read a header; raises MessageError."""
    return _remembered_parse(data) if len(data) <= 512 else _parse(data)


@lru_cache(maxsize=256)
def _remembered_parse(data: bytes) -> Header:
    return _parse(data)


def _parse(data: bytes) -> Header:
    try:
        document = json.loads(data)
        kind, shared = document.pop("kind"), document.pop("shared")
        if not isinstance(kind, str) or not isinstance(shared, bool):
            raise ValueError("`kind` must be a string, and `shared` a boolean")
        specs = tuple([_checked_spec(*fields) for fields in document.pop("tensors")])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MessageError(f"invalid header: {str(error)[:_SHOWN]}") from error
    return Header(kind, MappingProxyType(document), specs, shared)


def _checked_spec(dtype: Any, shape: Any, nbytes: Any) -> ArraySpec:
    """Return how an array is transferred; raises ValueError, TypeError when that is invalid."""
    if dtype not in DTYPES or not isinstance(shape, list) or len(shape) > MAX_RANK:
        raise ValueError("an array has an unknown dtype or an invalid shape")
    if not all(type(size) is int and size >= 0 for size in (*shape, nbytes)):
        raise ValueError("a size is not an integer, or negative")
    cell_nbytes = 8 if dtype == STRING else np.dtype(dtype).itemsize
    if count_of([size for size in shape if size]) * cell_nbytes > _MAX_CELL_BYTES:
        raise ValueError("a shape is too large")
    count = count_of(shape)
    if dtype == STRING:
        if count * _LENGTH.size > nbytes:
            raise ValueError("too few bytes for the number of strings")
    elif count * cell_nbytes != nbytes:
        raise ValueError("the size of an array does not match its shape")
    return ArraySpec(dtype, tuple(shape), nbytes)


def arrays_inline(specs: Sequence[ArraySpec], payload: bytes) -> list[np.ndarray]:
    """Return the arrays of a payload, numbers as views of it; raises MessageError."""
    if sum([_up(spec.nbytes, _INLINE_ALIGNMENT) for spec in specs]) != len(payload):
        raise MessageError("the size of the payload does not match its arrays")
    position, arrays, view = 0, [], memoryview(payload)
    for spec in specs:
        if spec.dtype == STRING:
            arrays.append(unpack_strings(view[position : position + spec.nbytes], spec.shape))
        else:
            cells = np.frombuffer(payload, spec.dtype, count_of(spec.shape), position)
            arrays.append(cells.reshape(spec.shape))
        position += _up(spec.nbytes, _INLINE_ALIGNMENT)
    return arrays


def arrays_shared(specs: Sequence[ArraySpec], memory: memoryview) -> list[np.ndarray]:
    """Return the arrays in shared memory, numbers as views of it; raises MessageError."""
    if shared_size(specs) > len(memory):
        raise MessageError("the shared memory ends early")
    return [
        unpack_strings(memoryview(view.data), spec.shape) if spec.dtype == STRING else view
        for view, spec in zip(views(memory, specs), specs, strict=True)
    ]


def merged_spec(column: Sequence[np.ndarray]) -> ArraySpec:
    """Return how the concatenation of arrays is transferred."""
    first = column[0]
    shape = (sum([len(array) for array in column]), *first.shape[1:])
    return ArraySpec(name_of(first.dtype), shape, count_of(shape) * first.dtype.itemsize)


def views(memory: memoryview, specs: Sequence[ArraySpec]) -> list[np.ndarray]:
    """Return each array as a view of its place in shared memory; strings as their bytes."""
    arrays = []
    for start, spec in zip(starts(specs), specs, strict=True):
        cells = np.frombuffer(memory, np.uint8, spec.nbytes, start)
        if spec.dtype != STRING:
            cells = cells.view(spec.dtype).reshape(spec.shape)
        arrays.append(cells)
    return arrays


def shared_size(specs: Sequence[ArraySpec]) -> int:
    """Return how many bytes of shared memory the arrays take."""
    return sum([_up(spec.nbytes, _SHARED_ALIGNMENT) for spec in specs])


def starts(specs: Sequence[ArraySpec]) -> Iterator[int]:
    """Yield where each array begins in shared memory."""
    start = 0
    for spec in specs:
        yield start
        start += _up(spec.nbytes, _SHARED_ALIGNMENT)


def _padded(wires: Sequence[np.ndarray | bytes]) -> Iterator[bytes]:
    for wire in wires:
        data = wire if isinstance(wire, bytes) else _in_native_order(wire).tobytes()
        yield data
        if rest := -len(data) % _INLINE_ALIGNMENT:
            yield bytes(rest)


def _in_native_order(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _framed(header: bytes, payload: bytes) -> bytes:
    if len(header) > MAX_HEADER_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise MessageError(f"too long: {len(header)} bytes of header, {len(payload)} of payload")
    return PREFIX.pack(len(header), len(payload)) + header + payload


def _up(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
