"""Rows of different lengths, padded to one, and answers that are cut again."""

from __future__ import annotations

import numpy as np
import pytest

from model.padding import LengthCost, Padding, PaddingHint, cut, padded
from model.tensors import Row, Tensors

PADDING = Padding({"x": -1.0}, ("y",), (LengthCost(4, 1, 8, 2), LengthCost(8, 1, 8, 2)))


def steps(length: int, rows: int = 1, fixed: float = 7) -> Tensors:
    x = np.arange(1, rows * length + 1, dtype="float32").reshape(rows, length)
    return Tensors({"x": x, "fixed": np.full((rows, 1), fixed, "float32")})


def row(*values: float) -> Row:
    dtype = np.dtype("float32")
    return Row({"x": list(values), "fixed": [0.0]}, {"x": dtype, "fixed": dtype}, 4)


def test_rows_are_padded_at_their_end_with_the_value_of_their_input() -> None:
    whole = padded([steps(2), row(5), steps(3, rows=2)[1:]], PADDING.values, 4)

    expected = [[1, 2, -1, -1], [5, -1, -1, -1], [4, 5, 6, -1]]
    np.testing.assert_array_equal(whole.arrays["x"], expected)
    np.testing.assert_array_equal(whole.arrays["fixed"], [[7], [0], [7]])
    assert whole.arrays["x"].dtype == "float32"


def test_texts_and_rows_of_several_axes_are_padded() -> None:
    words = Tensors({"x": np.array([["a", "b"]], object)})
    assert padded([words], {"x": ""}, 3).arrays["x"].tolist() == [["a", "b", ""]]

    frames = padded([Tensors({"x": np.ones((2, 1, 3, 2), "int8")})], {"x": 0}, 2).arrays["x"]
    assert frames.shape == (2, 2, 3, 2)
    assert frames.sum(axis=(2, 3)).tolist() == [[6, 0], [6, 0]]


def test_answers_are_cut_to_the_steps_of_the_row() -> None:
    answer = Tensors({"y": np.arange(12).reshape(2, 3, 2), "z": np.ones((2, 5))})
    mine = cut(answer[1:], ("y",), 2)

    assert mine.arrays["y"].tolist() == [[[6, 7], [8, 9]]]
    assert mine.arrays["y"].flags.c_contiguous
    assert mine.arrays["z"].shape == (1, 5)
    assert len(mine) == 1


@pytest.mark.parametrize("length, found", [(0, None), (1, 1), (8, 8), (9, None)])
def test_rows_without_steps_and_long_ones_are_not_padded(length: int, found: int | None) -> None:
    assert PADDING.length_of(steps(length)) == found
    assert PADDING.length_of(row(*[1.0] * length)) == found


def test_rows_whose_inputs_have_different_lengths_are_not_padded() -> None:
    padding = Padding({"x": 0, "z": 0}, (), PADDING.costs)
    one, two = np.ones((1, 2)), np.ones((1, 3))

    assert padding.length_of(Tensors({"x": one, "z": two})) is None
    assert padding.length_of(Tensors({"x": one, "z": one})) == 2


def test_rows_are_padded_to_the_longest_or_to_one_of_a_few_lengths() -> None:
    assert PADDING.target([2, 5, 1]) == 5
    few = Padding({"x": 0}, (), PADDING.costs, to_cost_length=True)
    assert [few.target([n]) for n in (1, 4, 5, 8)] == [4, 4, 8, 8]
    assert [few.place_of(n) for n in (1, 4, 5, 8)] == [0, 0, 1, 1]


def test_what_layers_say_is_kept_beside_a_converted_network() -> None:
    hint = PaddingHint({"x": 0.0}, "no mask")

    assert PaddingHint.of(hint.fields()) == hint
    assert PaddingHint.of(None) is None
