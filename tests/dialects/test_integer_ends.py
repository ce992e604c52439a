"""Integers are exact to both ends of their dtype in every form of request, and never beyond."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from model.signature import Signature, TensorSpec
from model.tensors import merge
from server.config import PredictSettings
from server.dialects.interface import DecodedRequest
from server.dialects.table import NATIVE, TFSERVING, V2, Dialects
from server.dialects.v2 import documents
from server.errors import InvalidData
from tests.dialects.test_dialects_agree import ways
from tests.dialects.test_npy import HEADERS, saved

WIDTHS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
Y = TensorSpec("y", (1,), "float32")
of_every_width = pytest.mark.parametrize("dtype", WIDTHS)


def dialects_of(dtype: str) -> Dialects:
    return Dialects("m", "1", Signature((TensorSpec("x", (2,), dtype),), (Y,)), PredictSettings())


def in_json(dtype: str, cells: list[Any]) -> Iterator[tuple[str, bytes]]:
    """Return a request for a row of two cells in every form of JSON, small and large."""
    tensor = {"name": "x", "shape": [1, 2], "datatype": documents.datatype(dtype)}
    for name, document in (
        (NATIVE.name, {"data": cells}),
        (NATIVE.name, {"data": [cells]}),
        (TFSERVING.name, {"instances": [cells]}),
        (TFSERVING.name, {"instances": [{"x": cells}]}),
        (TFSERVING.name, {"inputs": [cells]}),
        (TFSERVING.name, {"inputs": {"x": [cells]}}),
        (V2.name, {"inputs": [tensor | {"data": cells}]}),
        (V2.name, {"inputs": [tensor | {"data": [cells]}]}),
    ):
        body = json.dumps(document).encode()
        yield name, body
        yield name, body + b" " * 5000  # large bodies are decoded differently


def cells_of(decoded: DecodedRequest) -> list[list[int]]:
    array = merge([decoded.tensors]).arrays["x"]
    assert array.dtype.kind in "iu"
    return array.tolist()


@of_every_width
def test_both_ends_are_decoded_in_every_form(dtype: str) -> None:
    limits, dialects = np.iinfo(dtype), dialects_of(dtype)
    for end in (limits.min, limits.max, limits.min + 1, limits.max - 1):
        for cells in ([end, 1], [1, end], [end, end], [limits.min, limits.max]):
            for name, body in in_json(dtype, cells):
                assert cells_of(dialects.by_name[name].decode(body, {})) == [cells], body[:80]
            for name, body, headers in ways({"x": np.array([cells], dtype)}):
                got = dialects.by_name[name].decode(body, headers)
                assert cells_of(got) == [cells], (name, headers)


@of_every_width
def test_one_beyond_an_end_is_rejected_in_every_form_of_json(dtype: str) -> None:
    limits, dialects = np.iinfo(dtype), dialects_of(dtype)
    for beyond in (limits.min - 1, limits.max + 1):
        for cells in ([beyond, 1], [1, beyond], [limits.max, beyond], [limits.min, beyond]):
            for name, body in in_json(dtype, cells):
                with pytest.raises(InvalidData):
                    dialects.by_name[name].decode(body, {})


@of_every_width
def test_ends_of_wider_arrays_are_taken_and_one_beyond_is_rejected(dtype: str) -> None:
    limits, native = np.iinfo(dtype), dialects_of(dtype).native
    for given in ("int64", "uint64"):
        wide = np.iinfo(given)
        for number in (limits.min, limits.max, limits.min - 1, limits.max + 1):
            if not wide.min <= number <= wide.max:
                continue
            body = saved(np.array([[1, number]], given))
            if limits.min <= number <= limits.max:
                assert cells_of(native.decode(body, HEADERS)) == [[1, number]]
            else:
                with pytest.raises(InvalidData, match="does not fit"):
                    native.decode(body, HEADERS)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_floats_reach_the_ends_of_64_bits_but_not_beyond(dtype: str) -> None:
    limits, native = np.iinfo(dtype), dialects_of(dtype).native
    largest = int(np.nextafter(np.float64(limits.max + 1), 0))
    for number in (limits.min, largest):
        body = saved(np.float64([[number, 1]]))
        assert cells_of(native.decode(body, HEADERS)) == [[number, 1]]
    for number in (float(limits.max + 1), float(np.nextafter(np.float64(limits.min), -np.inf))):
        with pytest.raises(InvalidData, match="does not fit"):
            native.decode(saved(np.float64([[number, 1]])), HEADERS)


@of_every_width
def test_ends_stay_exact_in_one_batch_of_small_requests(dtype: str) -> None:
    """Small rows become an array only when they are merged into their batch."""
    limits, native = np.iinfo(dtype), dialects_of(dtype).native
    rows = [[limits.max, limits.min + 1], [1.0, limits.max - 1], [2, 3.0]]
    decoded = [native.decode(json.dumps({"data": row}).encode()) for row in rows]

    assert merge([each.tensors for each in decoded]).arrays["x"].tolist() == rows
