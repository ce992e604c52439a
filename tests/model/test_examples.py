"""Generated rows of input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.examples import (
    KINDS,
    RANDOM,
    example_row,
    example_rows,
    row_kinds,
)
from model.signature import Signature, TensorSpec
from model.tensors import Tensors

NUMBER = TensorSpec("x", (1,), "float32")
MATRIX = TensorSpec("m", (3, 3), "float32")
COLOUR = TensorSpec("colour", (1,), "string", samples=("red", "green", "blue"))
IDS = TensorSpec("ids", (4,), "int32", 0, 9, samples=(5, 6, 7))


def of(*specs: TensorSpec) -> Signature:
    return Signature(specs, (NUMBER,))


def cells(rows: Tensors) -> list[Any]:
    """The only input as lists."""
    [array] = rows.arrays.values()
    return list(array.tolist())


@pytest.mark.parametrize(
    "spec, rows",
    [
        (NUMBER, [[10], [20]]),
        (TensorSpec("x", (), "float64"), [10, 20]),
        (TensorSpec("x", (2,), "float32"), [[1, 1], [2, 2]]),
        (TensorSpec("x", (2,), "int32"), [[0, 0], [1, 1]]),
        (TensorSpec("x", (1,), "int32", 0, 0), [[0], [0]]),
        (TensorSpec("x", (1,), "string"), [["some words"], ["other words"]]),
        (COLOUR, [["red"], ["green"]]),
        (TensorSpec("x", (), "string", samples=("red",)), ["red", "red"]),
        (IDS, [[5, 6, 7, 5], [6, 7, 5, 6]]),
        (TensorSpec("x", (None, 1), "int8", samples=(5, 6)), [[[5], [6]], [[6], [5]]]),
    ],
    ids=str,
)
def test_plausible_rows(spec: TensorSpec, rows: list[Any]) -> None:
    made = example_rows(of(spec), 2, 2)

    assert cells(made) == rows
    assert made.arrays[spec.name].dtype == spec.array_dtype
    np.testing.assert_array_equal(example_row(spec, 1, 2), made.arrays[spec.name][1])


def names(signature: Signature) -> list[str]:
    return [kind.describe(signature) for kind in row_kinds(signature)]


def test_zeros_are_tried_first_where_no_vocabulary_is_known() -> None:
    assert names(of(MATRIX)) == [
        *("all zeros", "all ones", "identity matrices", "the numbers 1, 2, 3", "random values")
    ]


def test_values_of_the_vocabulary_are_tried_first_where_all_inputs_have_one() -> None:
    """They are tried once: the other inputs of a kind are what it differs in."""
    known = "values of its vocabulary"
    assert names(of(COLOUR)) == [known, known, *names(of(COLOUR))[2:]]
    assert names(of(COLOUR))[2:4] == ["all zeros", "all ones"]
    first = next(iter(row_kinds(of(COLOUR)))).rows(of(COLOUR), 4, 1)
    assert cells(first) == [["red"], ["green"], ["blue"], ["red"]]


def test_other_inputs_are_varied_beside_the_vocabulary() -> None:
    found = names(of(COLOUR, MATRIX))

    assert found[:3] == [
        "values of its vocabulary, and otherwise all zeros",
        "values of its vocabulary, and otherwise all ones",
        "values of its vocabulary, and otherwise identity matrices",
    ]
    assert found[5] == "all zeros"


def test_no_rows_are_tried_twice() -> None:
    signature = of(TensorSpec("x", (1,), "float32"))
    rows = [cells(kind.rows(signature, 1, 2)) for kind in row_kinds(signature)]

    assert rows[:2] == [[[0]], [[1]]]
    assert len(rows) == 3  # and a random one


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3), (9,), (None, None)])
def test_identity_matrices_can_be_inverted(shape: tuple[int | None, ...]) -> None:
    """Also flattened ones."""
    kind = next(kind for kind in KINDS if kind.name == "identity matrices")
    made = kind.rows(of(TensorSpec("m", shape, "float32")), 2, 3).arrays["m"]

    for row, factor in zip(made, (1, 2), strict=True):
        for matrix in row.reshape(-1, 3, 3):
            np.testing.assert_array_equal(matrix, factor * np.eye(3))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float64", "string"])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (None,), (2, 3), (4, 4)], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_every_kind_fits_every_signature(
    kind: Any, shape: tuple[int | None, ...], dtype: str
) -> None:
    known: dict[str, tuple[int | str, ...]] = {"string": ("a", "b"), "int8": (3, 4)}
    for samples in ((), known.get(dtype, ())):
        spec = TensorSpec("x", shape, dtype, samples=samples)
        made = kind.rows(of(spec), 3, 2).arrays["x"]
        assert made.shape == (3, *spec.row_shape(2))
        assert made.dtype == spec.array_dtype
        if dtype == "string":
            assert all(type(cell) is str for cell in made.ravel())
        equal = kind.equal_rows(of(spec), 5, 2).arrays["x"]
        assert equal.dtype == spec.array_dtype
        np.testing.assert_array_equal(equal, np.stack([made[0]] * 5))


@pytest.mark.parametrize("most", [0, 1, 7])
@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_no_kind_has_ids_that_are_out_of_range(kind: Any, most: int) -> None:
    made = kind.rows(of(TensorSpec("ids", (5,), "int64", 0, most)), 4, 1).arrays["ids"]

    assert made.min() >= 0
    assert made.max() <= most


def test_random_rows_differ_by_row_and_input_and_are_the_same_each_time() -> None:
    signature = of(TensorSpec("a", (3,), "float32"), TensorSpec("b", (3,), "float32"))
    one, two = RANDOM.rows(signature, 4, 1), RANDOM.rows(signature, 4, 1)

    rows = [tuple(row) for array in one.arrays.values() for row in array.tolist()]
    assert len(set(rows)) == 8
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, two.arrays[name])


def test_random_texts_have_different_lengths() -> None:
    made = RANDOM.rows(of(TensorSpec("text", (), "string")), 8, 1).arrays["text"]

    assert len({text.count(" ") for text in made}) > 1


def test_random_rows_of_a_vocabulary_are_samples() -> None:
    assert set(RANDOM.rows(of(IDS), 8, 1).arrays["ids"].ravel()) == {5, 6, 7}
