"""Arrays in numpy's file format: one in, one out, and nothing is ever executed."""

from __future__ import annotations

import contextlib
import io
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.dialects.native.dialect import NativeDialect
from server.errors import InvalidData, InvalidRequest, UnsupportedMediaType

HEADERS = {"content-type": "application/x-npy"}
X, Y = TensorSpec("x", (2,), "float32"), TensorSpec("y", (1,), "float32")


def dialect_of(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (Y,)) -> NativeDialect:
    return NativeDialect(Signature(inputs or (X,), outputs))


def saved(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def with_header(text: str, data: bytes = bytes(16)) -> bytes:
    """Return a file with a header that numpy would not write."""
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def refused(body: bytes, *inputs: TensorSpec) -> str:
    with pytest.raises((InvalidData, InvalidRequest)) as caught:
        dialect_of(*inputs).decode(body, HEADERS)
    return str(caught.value)


def test_an_array_in_an_array_out() -> None:
    dialect = dialect_of()
    call = dialect.decode(saved(np.float32([[1, 2], [3, 4]])), HEADERS)
    assert call.tensors.arrays["x"].tolist() == [[1, 2], [3, 4]]

    body, content_type, headers = dialect.encode(Tensors({"y": np.float32([[5], [6]])}), call)

    assert content_type == "application/x-npy"
    assert not headers
    answer = np.load(io.BytesIO(body), allow_pickle=False)
    assert (answer.tolist(), answer.dtype) == ([[5], [6]], np.float32)


def test_one_example_gets_one_answer() -> None:
    dialect = dialect_of()
    call = dialect.decode(saved(np.float32([1, 2])), HEADERS)
    assert call.tensors.arrays["x"].tolist() == [[1, 2]]
    answer = np.load(io.BytesIO(dialect.encode(Tensors({"y": np.float32([[5]])}), call).body))
    assert answer.tolist() == [5]


def test_the_media_type_decides() -> None:
    dialect = dialect_of()
    dialect.check(HEADERS)
    dialect.check({"content-type": "Application/X-NPY; version=1"})
    assert dialect.decode(b'{"data": [1, 2]}', {"content-type": "application/json"})
    with pytest.raises(UnsupportedMediaType):
        dialect.check({"content-type": "application/x-numpy"})
    with pytest.raises(UnsupportedMediaType):
        dialect.check(HEADERS | {"content-encoding": "br"})


def test_columns_first_is_read_as_well() -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(3, 2))
    decoded = dialect_of().decode(saved(array), HEADERS).tensors.arrays["x"]
    assert decoded.tolist() == array.tolist()
    assert decoded.flags.c_contiguous


# Arrays of another dtype


def cast(array: np.ndarray, dtype: str) -> np.ndarray:
    """Send an array to a model with an input of this dtype; return what the model gets."""
    spec = TensorSpec("x", array.shape[1:], dtype)
    return dialect_of(spec).decode(saved(array), HEADERS).tensors.arrays["x"]


NUMBERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
NUMBERS += ["float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("given", NUMBERS)
def test_numbers_of_any_dtype_are_taken_where_they_fit(given: str, dtype: str) -> None:
    for array in (
        np.array([[0, 1, 127]], given),
        np.array([[0, 1], [5, 127]], given).astype(np.dtype(given).newbyteorder(">")),
        np.asfortranarray(np.array([[0, 1, 2], [5, 6, 7]], given)),
        np.array([[0, 1, 2], [5, 6, 7]], np.dtype(given).newbyteorder(">"), order="F"),
    ):
        got = cast(array, dtype)
        assert got.tolist() == array.tolist()
        assert got.dtype == np.dtype(dtype)
        assert got.flags.c_contiguous
        assert got.flags.aligned


def test_floats_are_rounded_as_those_of_json_are() -> None:
    array = np.float64([[0.1, 16777217, 1e-50, 3.4028235e38, -1 / 3]])
    assert cast(array, "float32").tolist() == array.astype("float32").tolist()
    assert cast(np.int64([[2**53 + 1]]), "float64").tolist() == [[2.0**53]]
    assert cast(np.uint64([[2**64 - 1]]), "float32").tolist() == [[2.0**64]]


def test_what_is_not_finite_stays_so_in_another_dtype() -> None:
    given = np.float64([[np.nan, np.inf, -np.inf, 1.5]])
    for dtype in ("float16", "float32"):
        np.testing.assert_array_equal(cast(given, dtype), given)


@pytest.mark.parametrize(
    "array, dtype, element",
    [
        (np.float64([[1, 2], [3, 1e39]]), "float32", [1, 1]),
        (np.float64([[-1e39, np.nan]]), "float32", [0, 0]),
        (np.float32([[np.inf, 65520]]), "float16", [0, 1]),
        (np.int64([[1], [70_000]]), "float16", [1, 0]),
        (np.float64([[1, 1.5]]), "int32", [0, 1]),
        (np.float64([[1, np.nan]]), "int32", [0, 1]),
        (np.float32([[np.inf, 1]]), "int64", [0, 0]),
        (np.float64([[1, 2.0**31]]), "int32", [0, 1]),
        (np.float64([[-1e300]]), "int64", [0, 0]),
        (np.int64([[1, 2**31]]), "int32", [0, 1]),
        (np.int64([[-(2**31) - 1]]), "int32", [0, 0]),
        (np.int16([[0], [-1]]), "uint64", [1, 0]),
        (np.uint64([[0, 2**63]]), "int64", [0, 1]),
        (np.array([[0, 300]], ">i4"), "uint8", [0, 1]),
    ],
)
def test_a_number_that_does_not_fit_is_rejected_with_its_place(
    array: np.ndarray, dtype: str, element: list[int]
) -> None:
    for order in "CF":
        told = refused(saved(array.copy(order)), TensorSpec("x", array.shape[1:], dtype))
        assert f"The element {element} of the array" in told
        assert f'which is {dtype}; correct it and send array.astype("{dtype}")' in told


def test_the_place_in_one_example_has_no_row() -> None:
    told = refused(saved(np.float64([1, 1e39])), TensorSpec("x", (2,), "float32"))
    assert "The element [1] of the array" in told


@pytest.mark.parametrize("given", [*NUMBERS, "bool"])
def test_only_bool_is_taken_for_bool(given: str) -> None:
    if given == "bool":
        assert cast(np.array([[True, False]]), "bool").tolist() == [[True, False]]
        for dtype in NUMBERS:
            told = refused(saved(np.array([[True]])), TensorSpec("x", (1,), dtype))
            assert f'send array.astype("{dtype}")' in told
        return
    told = refused(saved(np.ones((1, 1), given)), TensorSpec("x", (1,), "bool"))
    assert 'send array.astype("bool")' in told


def test_a_bool_is_a_byte_of_0_or_1() -> None:
    crafted = saved(np.array([[True, False]]))[:-1] + b"\x02"
    assert "0 or 1" in refused(crafted, TensorSpec("x", (2,), "bool"))


def test_ids_of_another_dtype_are_in_their_range_too() -> None:
    spec = TensorSpec("x", (), "int32", 0, 9)
    assert dialect_of(spec).decode(saved(np.array([0, 9])), HEADERS)
    assert "0 to 9" in refused(saved(np.array([0, 10])), spec)


def test_long_floats_are_rejected_as_they_differ_from_machine_to_machine() -> None:
    if np.dtype(np.longdouble).itemsize > 8:
        assert 'send array.astype("float32")' in refused(saved(np.ones((1, 2), np.longdouble)))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_cast_array_is_equal_or_rejected(data: st.DataObject) -> None:
    given_dtype, dtype = data.draw(st.sampled_from(NUMBERS)), data.draw(st.sampled_from(NUMBERS))
    array = data.draw(st_numpy.arrays(given_dtype, (1, 3)))
    numbers = array.ravel().tolist()
    try:
        got = cast(array, dtype)
    except InvalidData:
        with np.errstate(over="ignore"):
            assert not all(_fits(number, np.dtype(dtype)) for number in numbers)
        return
    with np.errstate(over="ignore"):
        assert all(_fits(number, np.dtype(dtype)) for number in numbers)
    if np.dtype(dtype).kind in "iu":
        assert got.ravel().tolist() == numbers
    else:
        np.testing.assert_array_equal(got, array.astype(dtype))


def _fits(number: float, dtype: np.dtype) -> bool:
    """Return whether a number of Python, which compares exactly, fits a dtype."""
    if dtype.kind == "f":
        return not np.isfinite(number) or bool(np.isfinite(np.float64(number).astype(dtype)))
    limits = np.iinfo(dtype)
    return number == number and limits.min <= number <= limits.max and number == int(number)


def test_non_finite_numbers_are_preserved() -> None:
    array = np.float32([[np.nan, np.inf]])
    dialect = dialect_of()
    call = dialect.decode(saved(array), HEADERS)
    np.testing.assert_array_equal(call.tensors.arrays["x"], array)
    body = dialect.encode(Tensors({"y": np.float32([[np.nan]])}), call).body
    assert np.isnan(np.load(io.BytesIO(body))).all()


def test_arrays_are_not_in_the_payload_log() -> None:
    body = saved(np.float32([[1, 2]]))
    dialect = dialect_of()
    request = dialect.decode(body, HEADERS)
    assert dialect.input_excerpt(request, body) == b"null"
    assert dialect.answer_excerpt(request, body) == b"null"


class Bomb:
    """An object that must never be unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("it was unpickled",)


def test_nothing_is_ever_unpickled() -> None:
    objects = saved(np.array([[Bomb(), Bomb()]], object), allow_pickle=True)
    assert 'object, but x is float32; send array.astype("float32")' in refused(objects)
    assert refused(pickle.dumps(Bomb()))
    fields = np.zeros(2, [("a", object), ("b", "f4")])
    assert refused(saved(fields, allow_pickle=True))


@pytest.mark.parametrize(
    "array, words",
    [
        (np.array([[True, False]]), 'bool, but x is float32; send array.astype("float32")'),
        (np.complex64([[1, 2]]), "complex64, but x is float32"),
        (np.array([["a", "b"]]), "x is float32"),
        (np.array([["2026-01-01", "2026-01-02"]], "datetime64[D]"), "x is float32"),
        (np.zeros((1, 2), [("a", "f4")]), "x is float32"),
        (np.float32([[1, 2, 3]]), "has the shape [1, 3], but the model takes x: float32[2]"),
        (np.float32(1), "has the shape []"),
        (np.zeros((1, 1, 2), np.float32), "has the shape [1, 1, 2]"),
        (np.zeros((0, 2), np.float32), "no rows"),
    ],
)
def test_other_arrays_are_rejected(array: np.ndarray, words: str) -> None:
    assert words in refused(saved(array))


@pytest.mark.parametrize("shape", ["(1000000000000, 2)", "(9223372036854775807, 2)", "(2, 1)"])
def test_the_shape_is_checked_against_the_size_of_the_data(shape: str) -> None:
    """Nothing may be allocated for the claimed shape."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
    assert "size of the array does not match its shape" in refused(with_header(header))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1, 2]",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x01\x00\xff\xff" + b" " * 70_000,
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 2_000,
        b"\x93NUMPY\x09\x00" + saved(np.float32([[1, 2]]))[8:],
        with_header("nothing"),
        with_header("{'descr': '<f4', 'fortran_order': False}"),
        with_header("{'descr': '<f4', 'fortran_order': 1, 'shape': (2, 2)}"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2.0, 2)}"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -2)}"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os')}"),
        with_header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}"),
        with_header("{'descr': '(1000000000,)<f4', 'fortran_order': False, 'shape': (2, 2)}"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}", bytes(15)),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}", bytes(17)),
        with_header("(" * 110),
    ],
)
def test_a_body_in_another_format_is_rejected(body: bytes) -> None:
    assert refused(body)


def test_arrays_need_one_input_and_one_output() -> None:
    body = saved(np.float32([[1, 2]]))
    two = dialect_of(X, TensorSpec("z", (2,), "float32"))
    several = dialect_of(X, outputs=(Y, TensorSpec("z", (1,), "float32")))
    for dialect in (two, several):
        with pytest.raises(InvalidRequest, match="one input and one output of numbers; send JSON"):
            dialect.decode(body, HEADERS)


def test_strings_are_rejected_on_either_side() -> None:
    words = TensorSpec("y", (), "string")
    with pytest.raises(InvalidRequest, match="of numbers"):
        dialect_of(X, outputs=(words,)).decode(saved(np.float32([[1, 2]])), HEADERS)
    with pytest.raises(InvalidRequest, match="of numbers"):
        dialect_of(words).decode(saved(np.array(["a"])), HEADERS)


def test_ids_out_of_range_are_rejected() -> None:
    for id_ in (-1, 10):
        assert "0 to 9" in refused(saved(np.int32([0, id_])), TensorSpec("x", (), "int32", 0, 9))


DTYPES = ["bool", "int8", "uint8", "int64", "uint32", "float16", "float32", "float64"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_answer_decodes_to_the_same_tensors(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    shape = data.draw(st_numpy.array_shapes(min_dims=1, max_dims=4, max_side=3))
    array = data.draw(st_numpy.arrays(dtype, shape))
    spec = TensorSpec("x", shape[1:], dtype)
    dialect = dialect_of(spec, outputs=(spec,))

    call = dialect.decode(saved(array), HEADERS)

    np.testing.assert_array_equal(call.tensors.arrays["x"], array)
    assert call.tensors.arrays["x"].dtype == array.dtype
    assert dialect.encode(Tensors({"x": array}), call).body == saved(array)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 128))
def test_any_bytes_are_decoded_or_rejected(noise: bytes, at: int) -> None:
    sound = saved(np.float32([[1, 2], [3, 4]]))
    body = sound[:at] + noise + sound[at + len(noise) :]
    with contextlib.suppress(InvalidData, InvalidRequest):
        dialect_of().decode(body, HEADERS)
