from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.tensors import RowCountMismatch, Tensors, merge, split

CHECKOUT = Path(__file__).parents[2]


def tensors(rows: int, start: int = 0, width: int = 2) -> Tensors:
    x = np.arange(start, start + rows, dtype="float32")
    return Tensors({"x": np.repeat(x[:, None], width, axis=1), "id": x.astype("int32")})


def ids(part: Tensors) -> list[int]:
    return part.arrays["id"].tolist()


def test_the_length_is_the_number_of_rows():
    assert len(tensors(3)) == 3


def test_arrays_of_different_lengths_are_rejected():
    with pytest.raises(RowCountMismatch, match=r"\[2, 3\]"):
        Tensors({"x": np.zeros((2, 1)), "y": np.zeros((3, 1))})


def test_no_arrays_at_all_are_rejected():
    with pytest.raises(RowCountMismatch):
        Tensors({})


def test_a_slice_is_a_view_of_every_array():
    whole = tensors(5)
    part = whole[1:3]

    assert ids(part) == [1, 2]
    assert part.arrays["x"].tolist() == [[1, 1], [2, 2]]
    assert np.shares_memory(part.arrays["x"], whole.arrays["x"])


@pytest.mark.parametrize("lengths", [[1], [1, 1], [3, 1, 2], [64] * 3])
def test_split_undoes_merge(lengths: list[int]):
    starts = np.cumsum([0, *lengths[:-1]]).tolist()
    parts = [tensors(length, start) for start, length in zip(starts, lengths, strict=True)]

    merged = merge(parts)
    assert ids(merged) == list(range(sum(lengths)))
    assert [ids(part) for part in split(merged, lengths)] == [ids(part) for part in parts]


def test_merging_one_part_copies_nothing():
    part = tensors(4)
    assert merge([part]) is part


def test_merge_goes_by_name_whatever_the_order_of_the_arrays():
    one = Tensors({"a": np.array([1]), "b": np.array([2])})
    other = Tensors({"b": np.array([4]), "a": np.array([3])})

    assert {name: array.tolist() for name, array in merge([one, other]).arrays.items()} == {
        "a": [1, 3],
        "b": [2, 4],
    }


@pytest.mark.parametrize("lengths", [[2], [2, 2], [1, 1], []])
def test_split_rejects_lengths_that_do_not_add_up(lengths: list[int]):
    with pytest.raises(RowCountMismatch, match="3 rows came out"):
        split(tensors(3), lengths)


def test_row_shapes_are_equal_if_rows_can_share_a_batch():
    assert tensors(1).row_shape == tensors(7, start=3).row_shape
    assert tensors(1, width=2).row_shape != tensors(1, width=3).row_shape


def test_nbytes_counts_all_arrays():
    assert tensors(10).nbytes == 10 * 2 * 4 + 10 * 4


@pytest.mark.parametrize(
    "module", ["model.tensors", "model.signature", "model.formats.files", "model.formats.load"]
)
def test_importing_does_not_import_tensorflow(module: str):
    code = f"import sys, {module}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=CHECKOUT, text=True)
    assert output.strip() == "set()"


def test_nbytes_includes_strings():
    words = np.array([["ab", "cde"], ["", b"f"]], object)
    assert Tensors({"w": words}).nbytes == 4 * 8 + 6


def test_a_view_has_the_arrays_size_and_row_shape_of_its_rows_alone():
    whole = tensors(10)
    view = whole[2:8][1:3]

    assert len(view) == 2
    assert (view.row_shape, view.nbytes) == (whole.row_shape, tensors(2).nbytes)
    merged = merge([view])
    assert isinstance(merged, Tensors)
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(merged.arrays[name], array[3:5])
