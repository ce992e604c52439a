"""The native dialect: `{"data": …}` to tensors, tensors to `{"prediction": …}`."""

from __future__ import annotations

import gc
import json
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.dialects.interface import DecodedRequest
from server.dialects.json_body import LARGE_BODY
from server.dialects.native.dialect import NativeDialect
from server.errors import InvalidData, InvalidJSON, NonFiniteOutput

Y = TensorSpec("y", (1,), "float32")


def x(*shape: int | None, dtype: str = "float32", name: str = "x") -> TensorSpec:
    """An input."""
    return TensorSpec(name, shape, dtype)


def ids(*shape: int | None, most: int, dtype: str = "int32") -> TensorSpec:
    """An input of ids."""
    return TensorSpec("x", shape, dtype, 0, most)


def dialect_of(*inputs: TensorSpec) -> NativeDialect:
    """The dialect of a model with these inputs."""
    return NativeDialect(Signature(inputs, (Y,)))


def answering(*outputs: TensorSpec, as_null: bool = False) -> NativeDialect:
    """The dialect of a model with these outputs."""
    return NativeDialect(Signature((x(1),), outputs), non_finite_as_null=as_null)


def decode(dialect: NativeDialect, data: Any) -> DecodedRequest:
    """Decode a request with this data."""
    return dialect.decode(json.dumps({"data": data}).encode())


def error_of(dialect: NativeDialect, data: Any) -> InvalidData:
    """Decode an invalid request; return the error."""
    with pytest.raises(InvalidData) as caught:
        decode(dialect, data)
    assert 1 <= len(caught.value.violations) <= 8
    assert all(len(v.detail) <= 160 and len(v.pointer) <= 160 for v in caught.value.violations)
    return caught.value


def pointers(dialect: NativeDialect, data: Any) -> list[str]:
    """Decode an invalid request; return the pointers of its violations."""
    return [violation.pointer for violation in error_of(dialect, data).violations]


def encode(dialect: NativeDialect, single: bool, **arrays: Any) -> Any:
    """Encode an answer, and parse it."""
    return json.loads(dialect.json.write(Tensors(arrays), single))["prediction"]


def f32(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


# One example or a batch: the rank decides

SINGLE_OR_BATCH = [
    (x(1), [10], True),
    (x(1), [[10], [20]], False),
    (x(1), [[10]], False),
    (x(), 10, True),
    (x(), [10], False),
    (x(), [10, 20], False),
    (x(3), [1, 2, 3], True),
    (x(3), [[1, 2, 3]], False),
    (x(2, 2), [[1, 2], [3, 4]], True),
    (x(2, 2), [[[1, 2], [3, 4]]], False),
    (x(None), [1], True),
    (x(None), [1, 2, 3], True),
    (x(None), [[1, 2], [3, 4], [5, 6]], False),
    (x(None, 2), [[1, 2], [3, 4], [5, 6]], True),
    (x(None, None), [[1, 2, 3]], True),
    (x(1, 1, 1), [[[5]]], True),
    (x(1, 1, 1), [[[[5]]]], False),
]


@pytest.mark.parametrize("spec, data, single", SINGLE_OR_BATCH)
def test_the_rank_of_the_data_tells_one_example_from_a_batch(
    spec: TensorSpec, data: Any, single: bool
) -> None:
    request = decode(dialect_of(spec), data)

    assert request.form.single is single
    array = request.tensors.arrays["x"]
    assert array.dtype == np.dtype(spec.dtype)
    assert array.tolist() == ([data] if single else data)
    assert len(request.tensors) == len(array)


@pytest.mark.parametrize(
    "spec, data, pointer",
    [
        (x(1), [10, 20], "/data"),
        (x(1), 10, "/data"),
        (x(1), [[[10]]], "/data/0/0"),
        (x(2), [1], "/data"),
        (x(2), [1, 2, 3], "/data"),
        (x(2), [[1, 2], [3]], "/data/1"),
        (x(2), [[1, 2], 3], "/data/1"),
        (x(2), [1, [2]], "/data/1"),
        (x(), [[1]], "/data/0"),
        (x(2, 2), [1, 2], "/data/0"),
        (x(2, 3), [[1, 2, 3]], "/data"),
        (x(2, 3), [[1, 2, 3], [1, 2]], "/data/1"),
    ],
)
def test_data_of_another_shape_is_rejected_where_it_is_wrong(
    spec: TensorSpec, data: Any, pointer: str
) -> None:
    assert pointer in pointers(dialect_of(spec), data)


@pytest.mark.parametrize(
    "spec, data, pointer",
    [
        (x(1), [], "/data"),
        (x(1), [[]], "/data/0"),
        (x(1), [[1], []], "/data/1"),
        (x(), [], "/data"),
        (x(None), [], "/data"),
        (x(None), [[]], "/data/0"),
        (x(None), [[], []], "/data/0"),
        (x(None, 2), [], "/data"),
        (x(None, 2), [[]], "/data/0"),
        (x(2, None), [[], []], "/data/0"),
    ],
)
def test_an_empty_list_is_rejected(spec: TensorSpec, data: Any, pointer: str) -> None:
    assert pointer in pointers(dialect_of(spec), data)


@pytest.mark.parametrize(
    "spec, data",
    [
        (x(None), [[1], [1, 2]]),
        (x(None), [[1, 2], [1]]),
        (x(None, 2), [[[1, 2]], [[1, 2], [3, 4]]]),
        (x(2, None), [[1, 2], [3]]),
        (x(None, None), [[1], [1, 2]]),
    ],
)
def test_lists_along_a_variable_dimension_must_be_of_one_length(
    spec: TensorSpec, data: Any
) -> None:
    assert pointers(dialect_of(spec), data)[0].startswith("/data")


def test_requests_of_different_lengths_are_told_apart_by_their_row_shape() -> None:
    dialect = dialect_of(x(None))
    two, three, batch = (decode(dialect, data) for data in ([1, 2], [1, 2, 3], [[1, 2], [3, 4]]))

    assert two.tensors.row_shape == batch.tensors.row_shape != three.tensors.row_shape


# Values that are not numbers, or do not fit


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
@pytest.mark.parametrize("cell", ["1", "", "NaN", True, False, None, {}, {"a": 1}])
def test_values_that_are_not_numbers_are_rejected(dtype: str, cell: Any) -> None:
    dialect = dialect_of(x(2, dtype=dtype))

    assert pointers(dialect, [1, cell]) == ["/data/1"]
    assert pointers(dialect, [[1, 2], [1, cell]]) == ["/data/1/1"]


@pytest.mark.parametrize(
    "dtype, number",
    [
        ("int32", 2**31 - 1),
        ("int32", -(2**31)),
        ("uint8", 0),
        ("uint8", 255),
        ("int8", -128),
        ("int64", 2**53 + 1),
        ("int64", -(2**53) - 1),
        ("int64", 2**63 - 1),
        ("int64", -(2**63)),
        ("uint32", 2**32 - 1),
        ("uint64", 2**64 - 1),
        ("uint64", 2**63),
        ("float32", 3.4e38),
        ("float32", 2**127),
        ("float32", 10**30),
        ("float64", 1e308),
        ("float64", 5e-324),
        ("float64", 10**300),
    ],
)
def test_a_number_that_fits_is_decoded_exactly(dtype: str, number: Any) -> None:
    dialect = dialect_of(x(2, dtype=dtype))

    for data in ([number, 1], [[1, number]], [[number, 1], [1, number]]):
        array = decode(dialect, data).tensors.arrays["x"]
        assert array.dtype == np.dtype(dtype)
        assert number in array or np.dtype(dtype).type(number) in array
        if array.dtype.kind != "f":
            assert number in array.ravel().tolist()


@pytest.mark.parametrize(
    "dtype, number",
    [
        ("int32", 2**31),
        ("int32", -(2**31) - 1),
        ("int32", 2**40),
        ("int32", 10**30),
        ("int32", -(10**30)),
        ("int32", 1e10),
        ("uint8", 256),
        ("uint8", -1),
        ("int8", 128),
        ("uint32", -1),
        ("uint64", -1),
        ("uint64", 2**64),
        ("int64", 2**63),
        ("int64", -(2**63) - 1),
        ("int64", 2**64),
        ("int64", 1e19),
        ("int64", -1e19),
        ("int64", 1e300),
        ("float32", 1e39),
        ("float32", -1e39),
        ("float32", 3.5e38),
        ("float32", 10**39),
        ("float16", 70_000),
    ],
)
def test_a_number_that_does_not_fit_is_rejected_where_it_is(dtype: str, number: Any) -> None:
    dialect = dialect_of(x(2, dtype=dtype))

    assert pointers(dialect, [1, number]) == ["/data/1"]
    assert pointers(dialect, [[1, 2], [number, 1]]) == ["/data/1/0"]


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_an_integer_may_be_written_with_a_point_and_nothing_behind_it(dtype: str) -> None:
    dialect = dialect_of(x(2, dtype=dtype))

    for body in (b'{"data": [1.0, 2]}', b'{"data": [1.00, 2e0]}', b'{"data": [10E-1, 0.2e1]}'):
        array = dialect.decode(body).tensors.arrays["x"]
        assert array.dtype == np.dtype(dtype)
        assert array.tolist() == [[1, 2]]


@pytest.mark.parametrize("number", [1.5, 0.1, -0.5, 1e-300, 1.0000001])
def test_an_integer_has_no_fraction(number: float) -> None:
    assert pointers(dialect_of(x(2, dtype="int32")), [1, number]) == ["/data/1"]


def test_large_integers_stay_exact_beside_floats() -> None:
    dialect = dialect_of(x(3, dtype="int64"))

    array = dialect.decode(b'{"data": [1.0, 9007199254740993, -9223372036854775808]}')
    assert array.tensors.arrays["x"].tolist() == [[1, 9007199254740993, -9223372036854775808]]


def test_floats_are_rounded_to_the_nearest() -> None:
    array = decode(dialect_of(x(3)), [0.1, 16777217, 1e-50]).tensors.arrays["x"]

    assert array.tolist() == [[float(np.float32(0.1)), 16777216.0, 0.0]]


@pytest.mark.parametrize("body", [b'{"data":[1e400]}', b'{"data":[-1e400]}', b'{"data":[[1e999]]}'])
def test_numbers_beyond_any_float_are_rejected(body: bytes) -> None:
    for dtype in ("float32", "float64", "int64"):
        with pytest.raises((InvalidData, InvalidJSON)):
            dialect_of(x(1, dtype=dtype)).decode(body)


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b'{"data":[NaN]}', b'{"data":[Infinity]}'])
def test_invalid_json_and_invalid_data_are_different_errors(body: bytes) -> None:
    with pytest.raises(InvalidJSON) as caught:
        dialect_of(x(1)).decode(body)
    assert str(caught.value)


# The document around the data


@pytest.mark.parametrize(
    "document",
    [
        None,
        1,
        "data",
        [],
        [10],
        {},
        {"Data": [10]},
        {"data": [10], "more": 1},
        {"data": [10], "": None},
        {"data": [10], "instances": [[10]]},
    ],
)
def test_only_the_key_data_is_accepted(document: Any) -> None:
    with pytest.raises(InvalidData) as caught:
        dialect_of(x(1)).decode(json.dumps(document).encode())
    assert {violation.pointer for violation in caught.value.violations} == {""}


# Several inputs

USER_AND_ITEM = (x(1, dtype="int32", name="user"), x(2, name="item"))


def test_several_inputs_are_given_by_name() -> None:
    dialect = dialect_of(*USER_AND_ITEM)

    one = decode(dialect, {"user": [1], "item": [7, 8]})
    batch = decode(dialect, {"item": [[7, 8], [9, 10]], "user": [[1], [2]]})

    assert (one.form.single, batch.form.single) == (True, False)
    assert list(one.tensors.arrays) == list(batch.tensors.arrays) == ["user", "item"]
    assert one.tensors.arrays["item"].tolist() == [[7, 8]]
    assert batch.tensors.arrays["user"].tolist() == [[1], [2]]
    assert batch.tensors.arrays["user"].dtype == np.int32
    assert len(batch.tensors) == 2


@pytest.mark.parametrize(
    "data",
    [
        {"user": [1]},
        {"user": [1], "item": [7, 8], "more": [1]},
        {"user": [1], "Item": [7, 8]},
        {"user": [1], "item": [[7, 8]]},
        {"user": [[1]], "item": [7, 8]},
        {"user": [[1], [2]], "item": [[7, 8]]},
        {"user": [[1]], "item": [[7, 8], [9, 10]]},
        {"user": [], "item": []},
        {"user": [1.5], "item": [7, 8]},
        {"user": [2**31], "item": [7, 8]},
        [[1], [7, 8]],
        [1],
        [],
        None,
        {},
    ],
)
def test_several_inputs_must_all_be_there_and_alike(data: Any) -> None:
    error_of(dialect_of(*USER_AND_ITEM), data)


def test_a_rejection_points_into_the_input_at_fault() -> None:
    dialect = dialect_of(*USER_AND_ITEM)

    assert pointers(dialect, {"user": ["a"], "item": [7, 8]}) == ["/data/user/0"]
    assert pointers(dialect, {"user": [[1], [2]], "item": [[7, 8], [9, "a"]]}) == ["/data/item/1/1"]
    assert pointers(dialect, {"user": [[1], [2**31]], "item": [[1, 2]] * 2}) == ["/data/user/1/0"]


def test_several_inputs_of_rank_zero() -> None:
    dialect = dialect_of(x(name="a"), x(name="b", dtype="int64"))

    one, batch = decode(dialect, {"a": 1, "b": 2}), decode(dialect, {"a": [1, 3], "b": [2, 4]})
    assert (one.form.single, batch.form.single) == (True, False)
    assert batch.tensors.arrays["b"].tolist() == [2, 4]
    error_of(dialect, {"a": 1, "b": [2]})


def test_a_pointer_escapes_names_as_rfc_6901_says() -> None:
    dialect = dialect_of(x(1, name="a/b~c"), x(1, name="d"))

    assert pointers(dialect, {"a/b~c": ["x"], "d": [1]}) == ["/data/a~1b~0c/0"]


def test_names_of_inputs_are_keras_own_whatever_they_are() -> None:
    names = ["keras_tensor:0", "größe", "with space", "data", "$ref", "__proto__", '"', "'"]
    dialect = dialect_of(*(x(1, name=name) for name in names))

    arrays = decode(dialect, {name: [n] for n, name in enumerate(names)}).tensors.arrays
    assert [array.tolist() for array in arrays.values()] == [[[n]] for n in range(len(names))]


# Errors help


@pytest.mark.parametrize(
    "inputs, data, rows",
    [
        ((x(1),), [10, 20], 2),
        ((x(),), [[10], [20]], 2),
        ((x(3),), [1, 2], 2),
        (USER_AND_ITEM, [1, 2], 2),
    ],
)
def test_the_message_says_how_to_send_one_and_how_to_send_two(
    inputs: tuple[TensorSpec, ...], data: Any, rows: int
) -> None:
    dialect = dialect_of(*inputs)
    message = str(error_of(dialect, data))

    one, two, *_ = documents_in(message)
    examples = [dialect.decode(text.encode()) for text in (one, two)]
    assert [(len(e.tensors), e.form.single) for e in examples] == [(1, True), (rows, False)], (
        message
    )


def documents_in(text: str) -> Iterator[str]:
    """Find the JSON objects in a sentence."""
    decoder, position = json.JSONDecoder(), 0
    while (start := text.find("{", position)) >= 0:
        _, position = decoder.raw_decode(text, start)
        yield text[start:position]


def test_the_message_stays_short_for_a_large_input() -> None:
    message = str(error_of(dialect_of(x(224, 224, 3)), [1]))

    assert "224" in message
    assert len(message) < 500


@pytest.mark.parametrize("cells", [1, 300, 30_000])
def test_an_error_has_a_pointer_for_small_and_large_bodies(cells: int) -> None:
    """The branch of the schema that was meant explains the error, not `anyOf` at `/data`."""
    batch: list[Any] = [[1]] * cells + [["a"]]
    first: list[Any] = [["a"]] + [[1]] * cells
    single: list[Any] = [1] * cells + ["a"]

    assert pointers(dialect_of(x(1)), batch) == [f"/data/{cells}/0"]
    assert pointers(dialect_of(x(1)), first) == ["/data/0/0"]
    assert pointers(dialect_of(x(cells + 1)), single) == [f"/data/{cells}"]


@pytest.mark.parametrize(
    "data",
    [
        ["a"] * 100_000,
        [["a"]] * 100_000,
        "a" * 1_000_000,
        [["a" * 1_000_000]],
        {"k" * 100_000: 1},
        {str(n): n for n in range(50_000)},
        [[1] * 200_000],
        [[[[[1]]]]] * 50_000,
        [[1]] * 500_000 + [["a"]],
    ],
    ids=["words", "rows", "long", "long cell", "long key", "keys", "wide", "deep", "last row"],
)
def test_explaining_a_large_body_is_short_and_cheap(data: Any) -> None:
    dialect = dialect_of(x(1))
    started = time.monotonic()
    error = error_of(dialect, data)

    assert len(str(error)) < 1000
    assert time.monotonic() - started < 5  # jsonschema alone would take minutes for some


@pytest.mark.parametrize(
    "data, pointer, detail",
    [
        ({"a": 1}, "/data", "array"),
        ("a" * 10_000, "/data", "array"),
        ([[1]] * 9_000 + [{}], "/data/9000", "array"),
        ([[1]] * 9_000 + [[None]], "/data/9000/0", "number"),
        ([[1]] * 9_000 + [[]], "/data/9000", "less than 1 item"),
        ([[1]] * 9_000 + [[1] * 9_000], "/data/9000", "more than 1 item"),
        ([["a" * 9_000]] + [[1]] * 9_000 + [[None]], "/data/0/0", "number"),
    ],
)
def test_the_first_violation_of_a_large_body_is_reported(
    data: Any, pointer: str, detail: str
) -> None:
    body = json.dumps({"data": data}).encode() + LARGE
    with pytest.raises(InvalidData) as caught:
        dialect_of(x(1)).decode(body)

    [violation] = caught.value.violations
    assert violation.pointer == pointer
    assert detail in violation.detail


@pytest.mark.parametrize(
    "document, detail",
    [
        ({f"k{n}": n for n in range(5_000)}, "'k0'"),
        ({"data": [[1]] * 5_000, "more": 1}, "'more'"),
        ({"Data": [[1]] * 5_000}, "'Data'"),
        ([[1]] * 5_000, "object"),
    ],
)
def test_a_large_body_of_another_structure_is_reported(document: Any, detail: str) -> None:
    with pytest.raises(InvalidData) as caught:
        dialect_of(x(1)).decode(json.dumps(document).encode())

    [violation] = caught.value.violations
    assert violation.pointer == ""
    assert detail in violation.detail


@pytest.mark.parametrize("collecting", [True, False])
def test_a_large_body_leaves_the_garbage_collector_as_it_was(collecting: bool) -> None:
    dialect, cells = dialect_of(x(1, name="a"), x(1, name="b")), [[1]] * 2_000
    taken = json.dumps({"data": {"a": cells, "b": cells}}).encode()
    (gc.enable if collecting else gc.disable)()
    try:
        dialect.input_excerpt(dialect.decode(taken), taken)
        assert gc.isenabled() is collecting
        for refused in (b"[" * 5_000, taken.replace(b"1", b"null"), taken.replace(b"1", b"1e39")):
            with pytest.raises((InvalidData, InvalidJSON)):
                dialect.decode(refused)
            assert gc.isenabled() is collecting
    finally:
        gc.enable()


def test_a_rejected_large_body_is_released_at_once() -> None:
    """Otherwise the garbage collector would traverse all of it."""
    dialect, rows = dialect_of(x(None)), b"[1]," * 20_000
    for last in (b'["a"]', b"[1e39]", b"[1,2]"):
        body = b'{"data":[' + rows + last + b"]}"
        before = len(gc.get_objects())
        error = verdict(dialect, body)
        assert isinstance(error, InvalidData)
        assert len(gc.get_objects()) < before + 1000


def test_data_nested_too_deep_is_rejected() -> None:
    for depth in (10, 200, 400, 500, 900):
        body = b'{"data": ' + b"[" * depth + b"1" + b"]" * depth + b"}"
        with pytest.raises((InvalidData, InvalidJSON)):
            dialect_of(x(1)).decode(body)
        with pytest.raises((InvalidData, InvalidJSON)):
            dialect_of(x(1), x(1, name="z")).decode(body)


# Answers


def test_an_output_of_shape_1_is_a_number() -> None:
    dialect = answering(Y)

    assert encode(dialect, True, y=f32([31])) == 31.0
    assert encode(dialect, False, y=f32([31], [61])) == [31.0, 61.0]
    assert encode(dialect, False, y=f32([31])) == [31.0]


@pytest.mark.parametrize(
    "shape, array, one, batch",
    [
        ((), f32(5, 6), 5.0, [5.0, 6.0]),
        ((3,), f32([1, 2, 3], [4, 5, 6]), [1, 2, 3], [[1, 2, 3], [4, 5, 6]]),
        ((1, 1), f32([[1]], [[2]]), [[1]], [[[1]], [[2]]]),
        ((None,), f32([1], [2]), [1], [[1], [2]]),
        ((None, 1), f32([[1]], [[2]]), [[1]], [[[1]], [[2]]]),
    ],
)
def test_the_signature_decides_the_form_of_the_answer(
    shape: tuple[int | None, ...], array: np.ndarray, one: Any, batch: Any
) -> None:
    dialect = answering(TensorSpec("y", shape, "float32"))

    assert encode(dialect, True, y=array[:1]) == one
    assert encode(dialect, False, y=array) == batch
    assert encode(dialect, False, y=array[:1]) == batch[:1]


def test_several_outputs_are_an_object_by_name() -> None:
    dialect = answering(Y, TensorSpec("p", (2,), "float32"), TensorSpec("n", (), "int64"))
    arrays = {"p": f32([0.5, 0.25], [1, 0]), "y": f32([1], [2]), "n": np.array([7, 2**53 + 1])}

    one = encode(dialect, True, **{name: array[:1] for name, array in arrays.items()})
    assert list(one) == ["y", "p", "n"]
    assert one == {"y": 1.0, "p": [0.5, 0.25], "n": 7}
    assert encode(dialect, False, **arrays) == {
        "y": [1.0, 2.0],
        "p": [[0.5, 0.25], [1.0, 0.0]],
        "n": [7, 2**53 + 1],
    }


def test_an_answer_is_json_with_prediction_alone() -> None:
    assert answering(Y).json.write(Tensors({"y": f32([31])}), True) == b'{"prediction":31.0}'


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int32", "uint8", "bool"]
)
def test_values_keep_their_type(dtype: str) -> None:
    array = np.array([[0, 1, 1]], dtype)
    answer = encode(answering(TensorSpec("y", (3,), dtype)), True, y=array)

    assert answer == array[0].tolist()
    assert [type(cell) for cell in answer] == [type(cell) for cell in array[0].tolist()]


def test_floats_are_written_so_that_they_can_be_read_back() -> None:
    values = np.random.default_rng(7).standard_normal((100, 1)).astype(np.float32) * 1e-3
    values = np.vstack([values, f32([3.4e38], [1e-45], [-0.0], [16777216])])
    answer = encode(answering(Y), False, y=values)

    assert np.array_equal(np.array(answer, np.float32), values[:, 0])
    assert answering(Y).json.write(Tensors({"y": f32([0.1])}), True) == b'{"prediction":0.1}'


def test_views_of_a_batch_are_written_as_well() -> None:
    array = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    dialect = answering(TensorSpec("y", (3,), "float32"))

    assert encode(dialect, False, y=array[1:3]) == [[3, 4, 5], [6, 7, 8]]
    assert encode(answering(Y), False, y=array[::2, :1]) == [0, 6]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_rejected(value: float) -> None:
    two = answering(Y, TensorSpec("p", (2,), "float32"))
    for dialect, arrays in (
        (answering(Y), {"y": f32([1], [value])}),
        (answering(TensorSpec("y", (), "float32")), {"y": f32(value)}),
        (two, {"y": f32([1]), "p": f32([1, value])}),
    ):
        with pytest.raises(NonFiniteOutput) as caught:
            dialect.json.write(Tensors(arrays), False)
        assert str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_can_be_null(value: float) -> None:
    scalar = answering(TensorSpec("y", (), "float32"), as_null=True)
    two = answering(Y, TensorSpec("p", (2,), "float32"), as_null=True)

    assert encode(answering(Y, as_null=True), True, y=f32([value])) is None
    assert encode(answering(Y, as_null=True), False, y=f32([1], [value])) == [1.0, None]
    assert encode(scalar, True, y=f32(value)) is None
    assert encode(scalar, False, y=f32(value, 2)) == [None, 2.0]
    assert encode(two, True, y=f32([1]), p=f32([value, 2])) == {"y": 1.0, "p": [None, 2.0]}


@pytest.mark.parametrize("as_null", [False, True])
def test_answers_fit_the_schema_of_answers(as_null: bool) -> None:
    outputs = [Y, TensorSpec("p", (2,), "float32"), TensorSpec("n", (), "int64")]
    bad = np.nan if as_null else 0.0
    arrays = {"y": f32([1], [bad]), "p": f32([bad, 1], [2, 3]), "n": np.array([1, 2])}
    for chosen in ([outputs[0]], [outputs[1]], [outputs[2]], outputs):
        dialect = answering(*chosen, as_null=as_null)
        for rows, single in ((2, False), (1, True)):
            answer = Tensors({spec.name: arrays[spec.name][-rows:] for spec in chosen})
            Draft202012Validator(dialect.answer_schema).validate(
                json.loads(dialect.json.write(answer, single))
            )


# The schema and the verdict


SIGNATURES = {
    "a number": (x(1),),
    "a scalar": (x(),),
    "three numbers": (x(3),),
    "integers": (x(2, dtype="int32"),),
    "long integers": (x(1, dtype="int64"),),
    "a matrix": (x(2, 2, dtype="uint8"),),
    "a sequence": (x(None),),
    "pairs": (x(None, 2),),
    "ids": (ids(1, most=255),),
    "ids in floats": (ids(1, most=255, dtype="float32"),),
    "two inputs": USER_AND_ITEM,
    "two sequences": (x(None, name="a", dtype="int64"), x(name="b")),
}


def test_the_schema_is_json_schema() -> None:
    for inputs in SIGNATURES.values():
        dialect = dialect_of(*inputs)
        Draft202012Validator.check_schema(dialect.schema)
        Draft202012Validator.check_schema(dialect.answer_schema)
        assert json.loads(json.dumps(dialect.schema)) == dialect.schema


@pytest.mark.parametrize("name", SIGNATURES)
@pytest.mark.parametrize("rows", [None, 1, 2])
def test_examples_are_valid(name: str, rows: int | None) -> None:
    dialect = dialect_of(*SIGNATURES[name])

    request = dialect.decode(dialect.example(rows))
    assert (len(request.tensors), request.form.single) == (rows or 1, rows is None)


# The dialect decides on -2.0**63: its parser may have rounded the next smaller integer to it.
finite = st.floats(allow_nan=False, allow_infinity=False).filter(lambda v: v != -(2.0**63))
whole = st.integers(-(2**70), 2**70) | st.integers(-5, 300)
edges = st.sampled_from(
    [2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 1e39]
)
small = st.integers(0, 255)
no_numbers: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, "", "1", "a", {}, [], [[]], {"x": 1}]
)
cells = st.one_of(small, small, small, small.map(float), finite, whole, edges, no_numbers)
numbers = st.one_of(small, small.map(float), st.integers(-(2**31), 2**31), finite, edges)
junk = st.recursive(cells, lambda inner: st.lists(inner, max_size=3), max_leaves=8)


def arrays_of(spec: TensorSpec, rows: int | None, leaf: st.SearchStrategy[Any]) -> Any:
    """Nested lists of a spec's shape, as a strategy; now and then of another."""
    strategy = leaf
    sizes = [*([] if rows is None else [rows]), *spec.shape]
    for size in reversed(sizes):
        low, high = (1, 3) if size is None else (size, size)
        strategy = st.lists(strategy, min_size=low, max_size=high)
    return strategy


@st.composite
def datas(draw: st.DrawFn, inputs: tuple[TensorSpec, ...]) -> Any:
    """Data for these inputs: most of it right or nearly so."""
    rows = draw(st.sampled_from([None, None, 1, 2, 3]))
    leaf = draw(st.sampled_from([small, numbers, cells]))
    given = {spec.name: draw(arrays_of(spec, rows, leaf)) for spec in inputs}
    match draw(st.integers(0, 9)):
        case 0:
            return draw(junk)
        case 1:
            given[draw(st.sampled_from(sorted(given)))] = draw(junk)
        case 2:
            other = draw(st.sampled_from([None, 1, 2]))
            given[inputs[-1].name] = draw(arrays_of(inputs[-1], other, leaf))
        case 3 if len(inputs) > 1:
            given[draw(st.sampled_from(["more", "a", "user", ""]))] = [1]
        case 4 if len(inputs) > 1:
            del given[inputs[0].name]
    return given if len(inputs) > 1 else next(iter(given.values()), None)


@st.composite
def bodies(draw: st.DrawFn, inputs: tuple[TensorSpec, ...]) -> bytes:
    """Bodies of requests; nearly all are objects with data."""
    data = draw(datas(inputs))
    document: Any = {"data": data}
    match draw(st.integers(0, 19)):
        case 0:
            document = data
        case 1:
            document["more"] = 1
        case 2:
            document = {"Data": data}
    return json.dumps(document).encode()


def verdict(dialect: NativeDialect, body: bytes) -> DecodedRequest | InvalidData:
    """Return the decoded request, or the error."""
    try:
        return dialect.decode(body)
    except InvalidData as error:
        return error


def agree(name: str, body: bytes) -> None:
    """Check that the dialect accepts what the reference accepts and what fits, with its values.

    A large body goes other ways; white space makes it one, and no other.
    """
    inputs = SIGNATURES[name]
    document = json.loads(body)
    valid = REFERENCES[name].is_valid(document) and fits(document["data"], inputs)
    small, large = (verdict(DIALECTS[name], text) for text in (body, body + LARGE))
    for request in (small, large):
        assert isinstance(request, DecodedRequest) is valid, body
        if isinstance(request, DecodedRequest):
            agree_on_values(inputs, document, request)
    if isinstance(small, InvalidData) and isinstance(large, InvalidData):
        assert 1 <= len(small.violations) <= 8
        assert all(re.fullmatch(r"(/[^/]*)*", v.pointer) for v in small.violations)
        if len(small.violations) < 8:  # otherwise there may be more
            assert {v.pointer for v in large.violations} <= {v.pointer for v in small.violations}


def agree_on_values(inputs: tuple[TensorSpec, ...], document: Any, request: DecodedRequest) -> None:
    """Check that a request has the numbers of its document, and no others."""
    data = document["data"] if len(inputs) > 1 else {inputs[0].name: document["data"]}
    for spec in inputs:
        array = request.tensors.arrays[spec.name]
        rows = [data[spec.name]] if request.form.single else data[spec.name]
        assert array.dtype == np.dtype(spec.dtype)
        assert array.ndim == spec.rank + 1
        got, sent = leaves(array.tolist()), leaves(rows)
        if array.dtype.kind == "f":
            sent = [float(np.dtype(spec.dtype).type(cell)) for cell in sent]
        assert got == sent


LARGE = b" " * LARGE_BODY
DIALECTS = {name: dialect_of(*inputs) for name, inputs in SIGNATURES.items()}
REFERENCES = {name: Draft202012Validator(dialect.schema) for name, dialect in DIALECTS.items()}


def fits(data: Any, inputs: tuple[TensorSpec, ...]) -> bool:
    """Return whether valid data is rectangular, in the range of its dtype, with equal rows."""
    given = data if len(inputs) > 1 else {inputs[0].name: data}
    shapes = [shape_of(given[spec.name]) for spec in inputs]
    if None in shapes:
        return False
    batched = [
        shape[0] if len(shape) > spec.rank else None
        for shape, spec in zip(shapes, inputs, strict=True)
        if shape is not None
    ]
    in_range = all(
        in_range_of(cell, spec.dtype) for spec in inputs for cell in leaves(given[spec.name])
    )
    return in_range and len(set(batched)) == 1


def shape_of(data: Any) -> tuple[int, ...] | None:
    """Return the shape of nested lists, None if they are ragged."""
    if not isinstance(data, list):
        return ()
    shapes = {shape_of(item) for item in data}
    [shape] = shapes if len(shapes) == 1 else [None]
    return None if shape is None else (len(data), *shape)


def in_range_of(cell: Any, dtype: str) -> bool:
    """Return whether a dtype can hold a number, with exact arithmetic."""
    if np.dtype(dtype).kind == "f":
        largest = Fraction(float(np.finfo(dtype).max))
        half_a_step = largest - Fraction(float(np.nextafter(np.finfo(dtype).max, 0)))
        return abs(Fraction(cell)) < largest + half_a_step / 2
    return bool(np.iinfo(dtype).min <= cell <= np.iinfo(dtype).max)


def leaves(data: Any) -> list[Any]:
    """Return the numbers of nested lists, in order."""
    return [leaf for item in data for leaf in leaves(item)] if isinstance(data, list) else [data]


SOME = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow], database=None
)
MANY = settings(SOME, max_examples=10_000)


@pytest.mark.parametrize("name", SIGNATURES)
def test_both_validators_agree(name: str) -> None:
    """The reference is jsonschema with the published schema; about 500 bodies in total."""

    @SOME
    @given(body=bodies(SIGNATURES[name]))
    def check(body: bytes) -> None:
        agree(name, body)

    check()


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SIGNATURES)
def test_both_validators_agree_100_000_times(name: str) -> None:
    @MANY
    @given(body=bodies(SIGNATURES[name]))
    def check(body: bytes) -> None:
        agree(name, body)

    check()


@pytest.mark.torture
def test_the_generated_bodies_are_of_both_kinds() -> None:
    """A property that never sees a valid body, or an invalid one, shows nothing."""
    for name, inputs in SIGNATURES.items():
        verdicts = verdicts_on(REFERENCES[name], inputs)
        assert 10 <= sum(verdicts) <= len(verdicts) - 10, name


def verdicts_on(reference: Draft202012Validator, inputs: tuple[TensorSpec, ...]) -> list[bool]:
    """Return the reference's verdicts on a hundred generated bodies."""
    verdicts = []

    @settings(SOME, derandomize=True, max_examples=100)
    @given(body=bodies(inputs))
    def look(body: bytes) -> None:
        verdicts.append(reference.is_valid(json.loads(body)))

    look()
    return verdicts


# Ids


@pytest.mark.parametrize("dtype", ["int32", "float32", "uint8"])
@pytest.mark.parametrize("wrong", [-1, 3, 10**30])
def test_ids_that_the_model_does_not_know_are_rejected(dtype: str, wrong: int) -> None:
    dialect = dialect_of(ids(None, most=2, dtype=dtype))

    assert pointers(dialect, [0, 2, wrong]) == ["/data/2"]
    assert pointers(dialect, [[0], [wrong]]) == ["/data/1/0"]
    assert decode(dialect, [0, 1, 2]).tensors.arrays["x"].tolist() == [[0, 1, 2]]


def test_ids_of_a_large_body_are_rejected_where_they_are_wrong() -> None:
    dialect = dialect_of(ids(8, most=999))
    data = [[7] * 8 for _ in range(1000)]
    data[900][3] = 1000

    assert pointers(dialect, data) == ["/data/900/3"]


def test_a_table_of_one_id_has_examples() -> None:
    dialect = dialect_of(ids(2, most=0, dtype="float32"))
    assert decode(dialect, json.loads(dialect.example(2))["data"]).tensors.rows == 2


# Strings

TEXT = x(None, dtype="string")


@pytest.mark.parametrize("data, single", [(["a", "naïve \0"], True), ([["a"], [""], ["b"]], False)])
def test_strings_are_accepted(data: Any, single: bool) -> None:
    request = decode(dialect_of(TEXT), data)

    assert request.form.single is single
    assert request.tensors.arrays["x"].dtype == np.dtype(object)
    assert request.tensors.arrays["x"].tolist() == ([data] if single else data)


@pytest.mark.parametrize(
    "data, pointer",
    [
        ("a", "/data"),
        ([], "/data"),
        (["a", 1], "/data/1"),
        (["a", None], "/data/1"),
        ([["a"], ["a", "b"]], "/data"),
        ([["a"], "b"], "/data/1"),
    ],
)
def test_values_that_are_not_strings_are_rejected(data: Any, pointer: str) -> None:
    assert pointers(dialect_of(TEXT), data) == [pointer]


def test_strings_of_a_large_body_are_accepted() -> None:
    dialect = dialect_of(x(2, dtype="string"))
    data = [["naïve", str(row)] for row in range(1000)]

    assert decode(dialect, data).tensors.arrays["x"].tolist() == data
    data[900] = ["a", None]
    assert pointers(dialect, data) == ["/data/900/1"]


def test_a_string_an_example_may_have_no_list() -> None:
    dialect = dialect_of(x(dtype="string"))

    assert decode(dialect, "a").tensors.arrays["x"].tolist() == ["a"]
    assert decode(dialect, ["a", "b"]).tensors.arrays["x"].tolist() == ["a", "b"]
    assert pointers(dialect, 1) == ["/data"]


def test_strings_come_out_as_strings() -> None:
    words = np.array([["naïve".encode()], [b""]], object)

    one, many = (answering(TensorSpec("y", shape, "string")) for shape in ((1,), (None,)))
    assert encode(one, True, y=words) == "naïve"
    assert encode(one, False, y=words) == ["naïve", ""]
    assert encode(many, True, y=words) == ["naïve"]
    assert encode(many, False, y=words) == [["naïve"], [""]]
    assert encode(answering(TensorSpec("y", (), "string")), True, y=words[:, 0]) == "naïve"
