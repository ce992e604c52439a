"""Models that are refused by the library that loads them, or when they are first called.

Each stands under the message that it gets.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from model.formats.load import LoadOptions, load_model
from model.process import loader
from model.process.batch_size import BatchSize
from model.process.prepare import Before, LoadRequest, Report, prepare
from model.signature import Signature, TensorSpec
from tests.model.formats.hostile import (
    Config,
    dense,
    layer,
    old,
    old_sequential,
    sequential,
)
from tests.model.formats.hostile_archives import write_h5, write_keras
from tests.model.formats.saved_models import (
    edit,
    edit_file,
    export,
    of_tensorflow_1,
    save,
    vocabulary_table,
)
from tests.support.late import Late

Make = Callable[[Path], object]

tf: Any = Late("tensorflow")
keras: Any = Late("keras")

INSTALLED = importlib.metadata.version("keras")


def saved(path: Path, model: Any) -> object:
    model.save(path)
    return load_model(path)


def keras_file(config: Config, keras_version: str = INSTALLED, **options: Any) -> Make:
    return lambda folder: load_model(
        write_keras(folder / "m.keras", config, keras_version, **options)
    )


def h5_file(config: Config, keras_version: str) -> Make:
    return lambda folder: load_model(write_h5(folder / "m.h5", config, keras_version))


def no_weights() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w"):
        pass
    return file.getvalue()


def own(config: Config) -> Config:
    """Return the config of a class that is not one of Keras, as Keras writes it."""
    return {**config, "registered_name": config["class_name"]}


def with_import(name: str, text: str | None, class_name: str = "Mine", **config: Any) -> Make:
    """Return what loads a file that needs a class of a module, with `model.imports` set to it."""

    def make(folder: Path) -> object:
        if text is not None:
            (folder / f"{name}.py").write_text(text)
        only = own(layer(class_name, name, **config))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", [str(folder), *sys.path])
            path = write_keras(folder / "m.keras", sequential(only), INSTALLED)
            return load_model(path, LoadOptions(imports=(name,)))

    return make


# Keras


def operation_in_h5(folder: Path) -> object:
    x = keras.Input((2,))
    return saved(folder / "m.h5", keras.Model(x, keras.ops.not_equal(x, 0)))


def learned_vocabulary(folder: Path) -> object:
    words = keras.layers.StringLookup(name="words")
    words.adapt(np.array(["a", "b"]))
    return saved(folder / "m.h5", keras.Sequential([keras.Input((1,), dtype="string"), words]))


def normalizes_by_the_batch(folder: Path) -> object:
    import tf_keras

    x = tf_keras.Input((2,))
    y = tf_keras.layers.BatchNormalization()(x, training=True)
    return saved(folder / "m.keras", tf_keras.Model(x, y))


def called_as_in_keras_3(folder: Path) -> object:
    config = sequential(dense())
    first, second = config["config"]["layers"]
    second["inbound_nodes"] = [{"args": [7], "kwargs": {}}]
    config["class_name"] = "Functional"
    first["inbound_nodes"] = []
    return load_model(write_h5(folder / "m.h5", config, "2.15.0"))


def no_input_shape(folder: Path) -> object:
    config = sequential(dense())
    del config["config"]["layers"][0]
    return keras_file(config, weights_file=no_weights())(folder)


SUBCLASSED = """
import keras
class Network(keras.Model):
    def call(self, x):
        return x
"""
FAILS_WHEN_CALLED = """
import keras
class Fails(keras.layers.Layer):
    def compute_output_shape(self, shape):
        return shape
    def call(self, x):
        raise ValueError("this layer was never finished")
"""
READS_WORDS = """
import keras
class Words(keras.layers.StringLookup):
    pass
"""


def subclassed(folder: Path) -> object:
    (folder / "own_networks.py").write_text(SUBCLASSED)
    config = own({**layer("Network", "own_networks"), "config": {}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        path = write_keras(folder / "m.keras", config, INSTALLED, weights_file=no_weights())
        return load_model(path, LoadOptions(imports=("own_networks",)))


def ragged(folder: Path) -> object:
    x = keras.Input((1,), dtype="string")
    words = keras.layers.TextVectorization(vocabulary=["a"], ragged=True)(x)
    return saved(folder / "m.keras", keras.Model(x, words))


def no_rows(folder: Path) -> object:
    x = keras.Input((2,))
    return saved(folder / "m.keras", keras.Model(x, keras.ops.sum(x)))


def other_rows(folder: Path) -> object:
    x = keras.Input(batch_shape=(4, 3))
    y = keras.layers.Add()(keras.ops.unstack(x, axis=0))
    return saved(folder / "m.keras", keras.Model(x, y))


OF_KERAS: dict[str, Make] = {
    "holds a … where a model is expected": keras_file(dense()),
    "needs …, which Keras 3 does not have": keras_file(
        sequential(layer("LocallyConnected1D", filters=1, kernel_size=1))
    ),
    "has a part that could run code or read other files when it is loaded": with_import(
        "reads_words", READS_WORDS, "Words", vocabulary="/etc/passwd"
    ),
    "model.imports: … cannot be imported: …": with_import("not_there", None),
    "model.imports: … raises …: …": with_import("breaks_here", "raise ValueError('no')"),
    "needs …, which no module of model.imports: […] has": with_import("has_others", ""),
    "…; the file is of Keras …, newer than this one: save it with Keras …": keras_file(
        sequential(dense(of_the_future=1)), "3.99.0"
    ),
    "…; the file is of Keras …, older than this one: export a SavedModel with it": keras_file(
        sequential(dense(of_the_past=1)), "3.0.0"
    ),
    "…; save the model with `model.save('name.keras')`": keras_file(sequential(dense(of_nobody=1))),
    "…; save the model as .keras": h5_file(sequential(dense(of_nobody=1)), INSTALLED),
    "calls … of keras.ops, which .h5 files lose": operation_in_h5,
    "the vocabulary of … is lost in an .h5 file": learned_vocabulary,
    "…; export a SavedModel with the TensorFlow that wrote it": h5_file(
        old_sequential(old("Dense", units="many")), "2.15.0"
    ),
    "has a … with groups: …, which Keras 2 does not compute": h5_file(
        sequential(layer("Conv2DTranspose", None, filters=2, kernel_size=1, groups=2)), "2.15.0"
    ),
    "calls a layer as Keras 3 does, though it says that Keras 2 wrote it": called_as_in_keras_3,
    "the BatchNormalization … is called with training=True, so answers depend on the other rows": (
        normalizes_by_the_batch
    ),
    "the model has no input shape": no_input_shape,
    "does not say what its class … takes and returns": subclassed,
    "… when the model is called with …": with_import("fails_later", FAILS_WHEN_CALLED, "Fails"),
    "has a ragged output": ragged,
    "… has no axis for the rows, so it cannot be cut into answers": no_rows,
    "answers … rows when it is called with …": other_rows,
}


# SavedModels


def serves(*shape: int | None, **options: Any) -> Callable[[Callable[[Any], Any]], Make]:
    """Return what loads a SavedModel that computes `y` of an `x` of this shape."""
    return lambda compute: (
        lambda folder: load_model(serving(folder / "m", compute, shape), LoadOptions(**options))
    )


def serving(folder: Path, compute: Callable[[Any], Any], shape: Any) -> Path:
    spec = tf.TensorSpec(shape, tf.float32, "x")
    return export(folder, lambda x: {"y": compute(x)}, spec)


def edited(change: Callable[[Any], None]) -> Make:
    """Return what loads a SavedModel after a change of what its graph says."""
    return lambda folder: load_model(edit(save(folder / "m", lambda x: x), change))


def with_entry(add: Callable[[Path], object]) -> Make:
    """Return what loads a folder that looks like a SavedModel, with one more entry in it."""

    def make(folder: Path) -> object:
        (folder / "saved_model.pb").write_bytes(b"")
        add(folder / "entry")
        return load_model(folder)

    return make


def for_training(folder: Path) -> object:
    def change(file: Any) -> None:
        for graph in (file.meta_graphs[0], file.meta_graphs.add()):
            graph.meta_info_def.tags[:] = ["train"]

    return load_model(edit_file(save(folder / "m", lambda x: x), change))


def add_operation(graph: Any) -> None:
    for function in graph.graph_def.library.function:
        function.node_def.add(name="own", op="MyCompanysOp")


def remove_functions(graph: Any) -> None:
    del graph.graph_def.library.function[:]


def add_asset(graph: Any) -> None:
    graph.asset_file_def.add(filename="../../../etc/passwd")


def write_file(x: Any) -> Any:
    with tf.control_dependencies([tf.io.write_file("/tmp/canary", "x")]):
        return tf.identity(x)


def print_into_a_file(x: Any) -> Any:
    tf.raw_ops.PrintV2(input="x", output_stream="file:///tmp/canary")
    return x


def of_any_rank(x: Any) -> Any:
    return tf.raw_ops.PlaceholderWithDefault(input=x, shape=tf.TensorShape(None))


def without_signature(folder: Path) -> object:
    tf.saved_model.save(tf.Module(), folder / "m")
    return load_model(folder / "m")


def without_weights(folder: Path) -> object:
    weight = tf.Variable(1.0)
    save(folder / "m", lambda x: x * weight, weight=weight)
    (folder / "m" / "variables" / "variables.index").unlink()
    return load_model(folder / "m")


def damaged_graph(folder: Path) -> object:
    (folder / "saved_model.pb").write_bytes(b"\xff" * 100)
    return load_model(folder)


def different_rows(folder: Path) -> object:
    specs = [tf.TensorSpec([rows, 1], tf.float32, f"x{rows}") for rows in (2, 3)]
    return load_model(export(folder / "m", lambda a, b: {"y": a[:1] + b[:1]}, *specs))


def table_of_a_file(folder: Path) -> object:
    """Have an initializer read a file that the graph names, and that is no asset."""
    table = vocabulary_table(folder / "words.txt")

    def name_the_file(graph: Any) -> None:
        for node in graph.object_graph_def.nodes:
            if node.WhichOneof("kind") == "asset":
                node.constant.operation = "Const"

    save(folder / "m", lambda x: table.lookup(tf.as_string(x)), table=table)
    return load_model(edit(folder / "m", name_the_file))


def input_named_self(folder: Path) -> object:
    """No function of Python can be called with an argument of this name."""

    def rename(graph: Any) -> None:
        inputs = graph.signature_def["serving_default"].inputs
        inputs["self"].CopyFrom(inputs["x"])
        del inputs["x"]

    return load_model(edit(of_tensorflow_1(folder / "m"), rename))


def slices(x: Any) -> Any:
    return tf.IndexedSlices(x, tf.range(tf.shape(x)[0]))


def restores_another_file(folder: Path) -> object:
    """TensorFlow 1 gives the restoring operations the name of the file with the weights."""

    def name_another(graph: Any) -> None:
        for node in graph.graph_def.node:
            if node.op == "RestoreV2":
                node.input[0] = "another"

    return load_model(edit(of_tensorflow_1(folder / "m"), name_another))


def row_sums(x: Any) -> Any:
    dense = tf.sparse.to_dense(x) if isinstance(x, tf.SparseTensor) else x
    return {"y": tf.reduce_sum(dense, axis=1)}


def one_row(x: Any) -> Any:
    return tf.reduce_sum(x, axis=0, keepdims=True)


OF_SAVED_MODELS: dict[str, Make] = {
    "has no signature": without_signature,
    "has no signature … (it has: …)": serves(None, signature="other")(lambda x: x),
    "has no graph for serving (tags: …)": for_training,
    "its saved_model.pb is cut off or damaged": damaged_graph,
    "TensorFlow cannot load it: …": without_weights,
    "its … is a link out of the folder, to …": with_entry(
        lambda path: path.symlink_to("/etc/passwd")
    ),
    "its … is a link to nothing": with_entry(lambda path: path.symlink_to("nothing")),
    "its … is neither a file nor a folder": with_entry(os.mkfifo),
    "its asset … is outside of its folder": edited(add_asset),
    "runs the operation …, which is not among those that only compute": serves(None)(write_file),
    "needs the operation …, which is not part of TensorFlow": edited(add_operation),
    "calls the function …, which it lacks": edited(remove_functions),
    "fills a table from a file that is not one of its assets": table_of_a_file,
    "restores from a file that it names itself (…)": restores_another_file,
    "prints into a file": serves(None)(print_into_a_file),
    "cannot be called: …": input_named_self,
    "its input … has no declared shape": lambda folder: load_model(
        serving(folder / "m", lambda x: x, None)
    ),
    "its input … is ragged": lambda folder: load_model(
        export(folder / "m", row_sums, tf.RaggedTensorSpec([None, None], tf.float32))
    ),
    "its input … is sparse": lambda folder: load_model(
        export(folder / "m", row_sums, tf.SparseTensorSpec([None, 4], tf.float32))
    ),
    "its input … is a single value for all rows together": serves()(lambda x: x[None]),
    "its inputs have different first dimensions (…), where all have to have the same rows": (
        different_rows
    ),
    "its output … has no declared shape": serves(None)(of_any_rank),
    "its output … is ragged": serves(None, 2)(lambda x: tf.RaggedTensor.from_tensor(x)),
    "its output … is made of several tensors": serves(None, 2)(slices),
    "its output … is a single value for all rows together": serves(None, 1)(lambda x: x[0, 0]),
    "its output … has … rows, however many it is given": serves(None, 1)(one_row),
    "… is of type …, and only real numbers, bool and strings are served": serves(None, 1)(
        lambda x: tf.complex(x, x)
    ),
}


# First calls, and the version before


def prepared(path: Path, before: Before | None = None) -> Report:
    return prepare(loader.load, LoadRequest(str(path), max_rows=2, before=before))[1]


def twice_as_many_rows(folder: Path) -> object:
    return prepared(serving(folder / "m", lambda x: tf.repeat(x, 2, axis=0), [None, 1]))


def another_signature(folder: Path) -> object:
    wide = (TensorSpec("x", (2,), "float32"),)
    path = serving(folder / "m", lambda x: x, [None, 1])
    return prepared(path, Before(Signature(wide, wide), BatchSize(1)))


def not_a_number(folder: Path) -> object:
    report = prepared(serving(folder / "1", lambda x: x, [None, 1]))
    before = Before(report.signature, report.batch_size, report.golden)
    return prepared(serving(folder / "2", lambda x: x * float("nan"), [None, 1]), before)


OF_FIRST_CALLS: dict[str, Make] = {
    "the model fails on …: …": twice_as_many_rows,
    "its signature is …, but that of the served version is …": another_signature,
    "it answers NaN or infinity to rows that had finite answers before": not_a_number,
}

REFUSED = OF_KERAS | OF_SAVED_MODELS | OF_FIRST_CALLS
