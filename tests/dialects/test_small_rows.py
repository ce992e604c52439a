"""A single example is decoded and encoded without arrays, with the same results."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.signature import Signature, TensorSpec
from model.tensors import Row, Tensors, merge, split
from server.dialects.interface import DecodedRequest
from server.dialects.native.dialect import NativeDialect
from server.errors import InvalidData, NonFiniteOutput

Y = (TensorSpec("y", (1,), "float32"),)
DTYPES = ("float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint64")
EDGES = [
    float(edge)
    for edge in (65504, 65519.99, 65520, 3.4028234663852886e38, 3.4028235677973366e38, 1e39)
]
NUMBERS = (
    st.sampled_from(
        [*EDGES, *(2**power + more for power in (7, 8, 31, 63, 64) for more in (-1, 0))]
    )
    | st.integers(-(2**64), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-200, 300)
)


def dialect_of(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = Y) -> NativeDialect:
    return NativeDialect(Signature(inputs, outputs))


def decoded(dialect: NativeDialect, data: Any) -> DecodedRequest | None:
    """Decode a request; None if it is rejected."""
    try:
        return dialect.decode(json.dumps({"data": data}).encode())
    except InvalidData:
        return None


def assert_same(one: DecodedRequest, batch: DecodedRequest) -> None:
    alone, together = merge([one.tensors]), batch.tensors
    assert alone.arrays.keys() == together.arrays.keys()
    for name, array in together.arrays.items():
        assert alone.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(alone.arrays[name], array)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=50)
@given(row=st.lists(NUMBERS | NUMBERS.map(lambda n: -n), min_size=2, max_size=2))
@example(row=[0, -(2**63)])
@example(row=[0, -(2**63) - 1])
@example(row=[1.0, 2])
def test_one_example_is_read_as_it_is_in_a_batch_of_one(dtype: str, row: list[Any]):
    dialect = dialect_of(TensorSpec("x", (2,), dtype))
    one, batch = decoded(dialect, row), decoded(dialect, [row])

    assert (one is None) == (batch is None)
    if one and batch:
        assert_same(one, batch)


@pytest.mark.parametrize("number", [0, 10, 2.5, -3, 1e39])
def test_a_number_without_an_axis_is_read_as_it_is_in_a_batch(number: float):
    dialect = dialect_of(TensorSpec("x", (), "float32"))
    one, batch = decoded(dialect, number), decoded(dialect, [number])

    assert (one is None) == (batch is None)
    if one and batch:
        assert_same(one, batch)


def test_booleans_and_several_inputs_are_read_by_their_names():
    dialect = dialect_of(TensorSpec("on", (2,), "bool"), TensorSpec("n", (), "int32"))
    one = decoded(dialect, {"n": 7, "on": [True, False]})
    assert one

    arrays = merge([one.tensors]).arrays
    assert arrays["on"].tolist() == [[True, False]]
    assert arrays["n"].tolist() == [7]


def test_rows_and_arrays_share_a_batch_in_their_order():
    dialect = dialect_of(TensorSpec("x", (1,), "float32"))
    parts = [decoded(dialect, data) for data in ([1], [[2], [3]], [4])]

    merged = merge([part.tensors for part in parts if part])
    assert merged.arrays["x"].tolist() == [[1], [2], [3], [4]]
    assert isinstance(parts[0].tensors, Row)  # type: ignore[union-attr]  # so both kinds were there


OUTPUTS = [
    (np.array([[1.5], [-2.0], [3e-7]], np.float32), (1,)),
    (np.array([1.5, -2.0, 3e30], np.float64), ()),
    (np.array([[1, 2], [3, 4], [5, 6]], np.int64), (2,)),
    (np.array([[1.25], [2.5], [3.75]], np.float16), (1,)),
    (np.array([[True], [False], [True]]), (1,)),
    (np.array([[[1.0]], [[2.0]], [[3.0]]], np.float32), (1, 1)),
]


@pytest.mark.parametrize("array, shape", OUTPUTS)
def test_single_answers_are_written_like_those_of_a_batch(
    array: np.ndarray, shape: tuple[int, ...]
):
    spec = TensorSpec("y", shape, array.dtype.name)
    dialect = dialect_of(TensorSpec("x", (1,), "float32"), outputs=(spec,))
    batch = Tensors({"y": array})
    together = json.loads(dialect.json.write(batch, single=False))["prediction"]

    alone = [json.loads(dialect.json.write(row, single=True)) for row in split(batch, [1, 1, 1])]
    assert [answer["prediction"] for answer in alone] == together


def test_several_outputs_are_written_by_their_names_whatever_these_are():
    specs = (TensorSpec("100%b", (), "float32"), TensorSpec('"', (2,), "int32"))
    dialect = dialect_of(TensorSpec("x", (1,), "float32"), outputs=specs)
    arrays = {"100%b": np.array([0.5, 1.5], np.float32), '"': np.array([[1, 2], [3, 4]], np.int32)}

    answers = [dialect.json.write(row, single=True) for row in split(Tensors(arrays), [1, 1])]
    assert [json.loads(answer)["prediction"] for answer in answers] == [
        {"100%b": 0.5, '"': [1, 2]},
        {"100%b": 1.5, '"': [3, 4]},
    ]


def test_a_non_finite_number_affects_only_its_own_row():
    dialect = dialect_of(TensorSpec("x", (1,), "float32"))
    rows = split(Tensors({"y": np.array([[1.0], [np.nan], [3.0]], np.float32)}), [1, 1, 1])

    assert dialect.json.write(rows[0], single=True) == b'{"prediction":1.0}'
    with pytest.raises(NonFiniteOutput):
        dialect.json.write(rows[1], single=True)
    assert dialect.json.write(rows[2], single=True) == b'{"prediction":3.0}'


def test_a_row_of_a_slice_of_a_batch_is_the_right_one():
    dialect = dialect_of(TensorSpec("x", (1,), "float32"))
    whole = Tensors({"y": np.arange(6, dtype=np.float32).reshape(6, 1)})

    assert dialect.json.write(whole[2:5][1:2], single=True) == b'{"prediction":3.0}'
