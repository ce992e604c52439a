"""Arrays in numpy's file format (NEP 1): one array in a request, one in its answer."""

from __future__ import annotations

import io
import math
from typing import Final

import numpy as np
from numpy.lib import format as npy

from model.signature import Signature, TensorSpec
from model.tensors import Rows, Tensors
from server.dialects.answer_size import binary_bytes
from server.dialects.cells import casts, numbers
from server.dialects.interface import NO_HEADERS, DecodedRequest, Encoded
from server.dialects.native.codec import RequestForm
from server.errors import InvalidData, InvalidRequest

MEDIA_TYPE: Final = "application/x-npy"
MAX_HEADER: Final = 1024


class NpyCodec:
    """One array for one signature, in requests and answers."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._single = RequestForm(MEDIA_TYPE, True)
        self._batch = RequestForm(MEDIA_TYPE, False)
        self._row_bytes = binary_bytes(signature.outputs)

    def decode(self, body: bytes) -> DecodedRequest:
        """Read an array; raises InvalidRequest and InvalidData."""
        if not supports(self._signature):
            raise InvalidRequest(
                f"{MEDIA_TYPE} is for models with one input and one output of numbers; send JSON."
            )
        [spec] = self._signature.inputs
        array, single = loads(body, spec)
        return DecodedRequest(Tensors({spec.name: array}), self._single if single else self._batch)

    def answer_bytes(self, rows: int, form: RequestForm) -> int:  # noqa: ARG002  # Codec's
        """Return the bytes of an answer with so many rows, as far as known."""
        return rows * self._row_bytes

    def encode(self, answer: Rows, form: RequestForm) -> Encoded:
        """Write the output, never as labels; non-finite numbers are written as they are."""
        [array] = answer.arrays.values()
        return Encoded(dumps(array[0] if form.single else array), MEDIA_TYPE, NO_HEADERS)

    def input_excerpt(self, body: bytes) -> bytes:  # noqa: ARG002  # Codec's
        """Return null: arrays are not logged."""
        return b"null"

    def answer_excerpt(self, answer: bytes) -> bytes:  # noqa: ARG002  # Codec's
        """Return null: arrays are not logged."""
        return b"null"


def supports(signature: Signature) -> bool:
    """Return whether a model takes one array of numbers, and answers with one."""
    specs = (*signature.inputs, *signature.outputs)
    return len(specs) == 2 and all(spec.dtype != "string" for spec in specs)


def advice(signature: Signature) -> str:
    """Return how to send numbers that JSON does not have."""
    if supports(signature):
        return f"an array of numpy (Content-Type: {MEDIA_TYPE})"
    return "binary tensors to a path of /v2"


def loads(body: bytes, spec: TensorSpec) -> tuple[np.ndarray, bool]:
    """Return the rows in a file, and whether they were given as one example.

    The header is checked against the size of the body before anything is allocated, and nothing is
    ever unpickled. Numbers of another dtype are cast if all of them fit. Raises InvalidRequest if
    the body has another format, and InvalidData if the model does not take the array.
    """
    shape, is_fortran, dtype, start = _header(body)
    casts.check_castable(dtype, spec)
    if math.prod(shape) * dtype.itemsize != len(body) - start:
        raise InvalidData("The size of the array does not match its shape", [])
    single = len(shape) == spec.rank
    rows = shape if single else shape[1:]
    if len(shape) not in (spec.rank, spec.rank + 1) or not all(
        size > 0 and known in (None, size) for size, known in zip(rows, spec.shape, strict=True)
    ):
        raise InvalidData(f"The array has the shape {list(shape)}, but the model takes {spec}", [])
    if 0 in shape:
        raise InvalidData("The array has no rows", [])
    cells = np.frombuffer(body, dtype, offset=start)
    array = cells.reshape(shape, order="F" if is_fortran else "C")
    array = np.require(casts.cast(array, spec), None, ["ALIGNED", "C_CONTIGUOUS"])
    numbers.check_range(array, spec)
    return (array[np.newaxis] if single else array), single


def dumps(array: np.ndarray) -> bytes:
    """Return an array in the file format."""
    file = io.BytesIO()
    npy.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


def _header(body: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    file = io.BytesIO(body[: MAX_HEADER + 64])
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, is_fortran, dtype = read(file, max_header_size=MAX_HEADER)
    except Exception as error:  # whatever numpy and ast raise for a crafted header
        raise InvalidRequest(
            "The body is not in numpy's file format (.npy), as numpy.save writes it."
        ) from error
    return tuple(map(int, shape)), is_fortran, dtype, file.tell()  # True is an int to numpy
