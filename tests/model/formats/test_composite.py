"""Ragged and sparse inputs and outputs of SavedModels are refused by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.formats.load import LoadOptions, ModelError, load_model
from tests.model.formats.saved_models import edit, export, of_tensorflow_1
from tests.support.late import Late

pytestmark = pytest.mark.keras

tf: Any = Late("tensorflow")


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(folder, LoadOptions(**options))
    return str(caught.value).removeprefix(f"{folder}: ")


@pytest.mark.parametrize("allow_code", [False, True])
def test_a_ragged_input_among_others_is_named(tmp_path: Path, allow_code: bool) -> None:
    """In the signature it is `words` and `words_1`, its values and where its rows end."""
    age = tf.TensorSpec([None], tf.float32, "age")
    words = tf.RaggedTensorSpec([None, None], tf.float32)

    def compute(age: Any, words: Any) -> Any:
        return {"y": tf.reduce_sum(words, axis=1) + age}

    folder = export(tmp_path / "m", compute, age, words)

    assert refusal(folder, allow_code=allow_code) == (
        "its input words is ragged; export a signature that takes padded rows and calls "
        "`tf.RaggedTensor.from_tensor`"
    )


def test_a_sparse_input_in_a_dict_is_named(tmp_path: Path) -> None:
    """TensorFlow names it by the argument, because its type has no name."""
    both = {
        "a": tf.TensorSpec([None, 4], tf.float32, "a"),
        "b": tf.SparseTensorSpec([None, 4], tf.float32),
    }

    folder = export(
        tmp_path / "m",
        lambda given: {"y": given["a"] + tf.sparse.to_dense(given["b"])},
        both,
    )

    assert refusal(folder).startswith("its input given is sparse; ")


@pytest.mark.logs_warnings  # Keras 2 warns when it saves
@pytest.mark.parametrize("kind", ["ragged", "sparse"])
def test_a_folder_of_keras_2(tmp_path: Path, kind: str) -> None:
    import tf_keras

    x = tf_keras.Input((None,) if kind == "ragged" else (4,), name="x", **{kind: True})
    sums = tf_keras.layers.Lambda(lambda x: tf.reduce_sum(x, 1, keepdims=True))
    y = sums(x) if kind == "ragged" else tf_keras.layers.Dense(2)(x)
    tf_keras.Model(x, y).save(tmp_path / "m", save_format="tf")

    assert refusal(tmp_path / "m").startswith(f"its input args_0 is {kind}; ")


@pytest.mark.logs_warnings  # what TensorFlow 1 offered is deprecated
def test_a_sparse_input_of_tensorflow_1(tmp_path: Path) -> None:
    def make_sparse(graph: Any) -> None:
        info = graph.signature_def["serving_default"].inputs["x"]
        info.coo_sparse.values_tensor_name = "x:0"

    assert refusal(edit(of_tensorflow_1(tmp_path / "m"), make_sparse)).startswith(
        "its input x is sparse; "
    )


def test_the_ragged_one_of_two_outputs_is_named(tmp_path: Path) -> None:
    spec = tf.TensorSpec([None, 2], tf.float32, "x")
    folder = export(tmp_path / "m", lambda x: {"a": x, "b": tf.RaggedTensor.from_tensor(x)}, spec)

    assert refusal(folder).startswith("its output b is ragged; export a signature that returns a")


def test_a_sparse_output_becomes_dense(tmp_path: Path) -> None:
    spec = tf.TensorSpec([None, 2], tf.float32, "x")
    engine = load_model(export(tmp_path / "m", lambda x: {"y": tf.sparse.from_dense(x)}, spec))

    assert engine.call([np.float32([[0, 2]])])[0].tolist() == [[0, 2]]
