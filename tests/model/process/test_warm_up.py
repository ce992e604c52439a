"""The first calls of models of Keras whose layers reject some rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.formats.load import load_model
from model.process.prepare import LoadRequest, Report, prepare

pytestmark = pytest.mark.keras

LETTERS = ["a", "b", "c", "d"]
Prepare = Callable[[Any], Report]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """Save a model, load it as the service does, and return the report."""

    def prepared(model: Any) -> Report:
        path = tmp_path / "m.keras"
        model.save(path)
        request = LoadRequest(str(path), max_rows=4)
        return prepare(lambda request: load_model(request.path), request)[1]

    return prepared


@pytest.mark.parametrize("words", [["red", "green"], [10, 20]], ids=["strings", "integers"])
def test_a_lookup_without_an_entry_for_unknown_values_is_warmed_up_with_known_ones(
    prepared: Prepare, words: list[Any]
) -> None:
    import keras

    layers, is_text = keras.layers, isinstance(words[0], str)
    lookup = layers.StringLookup if is_text else layers.IntegerLookup
    x = keras.Input((1,), name="x", dtype="string" if is_text else "int64")
    y = layers.Embedding(2, 3)(lookup(vocabulary=words, num_oov_indices=0)(x))
    report = prepared(keras.Model(x, y))

    shown = [golden.rows.arrays["x"].tolist() for golden in report.golden]
    assert shown == [[[words[0]]], [[words[0]], [words[1]]]]


@pytest.mark.parametrize("shape", [(3, 3), (None, None)], ids=["fixed", "variable"])
def test_a_decomposition_is_warmed_up_with_identity_matrices(
    prepared: Prepare, shape: tuple[int | None, ...]
) -> None:
    import keras

    x = keras.Input(shape, name="x")
    report = prepared(keras.Model(x, keras.ops.cholesky(x)))
    _, two = report.golden
    side = two.rows.arrays["x"].shape[-1]

    np.testing.assert_array_equal(two.rows.arrays["x"], [np.eye(side), 2 * np.eye(side)])


def test_examples_of_ids_are_not_masked(prepared: Prepare) -> None:
    """The mean of a sequence of masked ids alone is 0 / 0."""
    import keras

    x = keras.Input((None,), name="x", dtype="int32")
    y = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 2, mask_zero=True)(x))
    report = prepared(keras.Model(x, y))

    assert [golden.rows.arrays["x"].tolist() for golden in report.golden] == [
        [[1, 2]],
        [[1, 2], [2, 3]],
    ]


@pytest.mark.logs_warnings
def test_a_text_that_is_padded_to_the_longest_of_its_batch_depends_on_it(
    prepared: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    import keras

    x = keras.Input((1,), name="x", dtype="string")
    prepared(keras.Model(x, keras.layers.TextVectorization(vocabulary=LETTERS)(x)))

    assert "the answer to a row changes with the other rows of its batch" in caplog.text


@pytest.mark.logs_warnings
def test_a_model_that_rejects_all_generated_rows_is_served(
    prepared: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    """The vocabulary is not that of the input, as a layer in between changes the values."""
    import keras

    x = keras.Input((1,), name="x", dtype="string")
    hashed = keras.layers.Hashing(1000)(x)
    y = keras.layers.IntegerLookup(vocabulary=[1001], num_oov_indices=0)(hashed)
    report = prepared(keras.Model(x, y))

    assert (report.golden, report.batch_size.rows) == ((), 4)
    assert "it is served without warm-up" in caplog.text
