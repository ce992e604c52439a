from __future__ import annotations

import pytest

from model.signature import Signature, TensorSpec

X = TensorSpec("x", (1,), "float32")


def test_the_text_of_a_spec_has_name_dtype_and_shape():
    assert str(X) == "x: float32[1]"
    assert str(TensorSpec("image", (28, None, 3), "uint8")) == "image: uint8[28, ?, 3]"
    assert str(TensorSpec("id", (), "int64")) == "id: int64[]"


def test_the_text_of_a_spec_has_its_ids():
    """So an error shows the difference between signatures that differ only in their ids."""
    assert str(TensorSpec("ids", (None,), "int32", 0, 9)) == "ids: int32[?] from 0 to 9"


def test_the_rank_is_that_of_one_row():
    assert TensorSpec("image", (28, None), "float32").rank == 2
    assert TensorSpec("id", (), "int64").rank == 0


def test_the_same_name_on_both_sides_is_fine():
    assert Signature((X,), (X,)) == Signature((X,), (X,))


@pytest.mark.parametrize("sides", [((X, X), (X,)), ((X,), (X, X))], ids=["inputs", "outputs"])
def test_duplicate_names_on_one_side_are_rejected(sides: tuple[tuple[TensorSpec, ...], ...]):
    with pytest.raises(ValueError, match="not unique: x, x"):
        Signature(*sides)


def test_a_signature_is_fixed_unless_a_dimension_of_an_input_varies():
    varies = TensorSpec("text", (None,), "int32")

    assert Signature((X,), (varies,)).is_fixed
    assert not Signature((X, varies), (X,)).is_fixed


def test_signatures_that_differ_in_samples_alone_are_equal():
    """So that a new version with another vocabulary can replace the old one."""
    old, new = (TensorSpec("x", (), "string", samples=(word,)) for word in ("red", "green"))

    assert old == new
    assert hash(old) == hash(new)
