"""Models that are refused by the library that loads them, each by the message it gets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.formats.load import LoadOptions, load_model
from tests.model.formats.hostile import dense, layer, sequential
from tests.model.formats.hostile_archives import write_h5, write_keras

Make = Callable[[Path], object]


def served(*shape: int | None, **options: Any) -> Callable[[Callable[[Any], Any]], Make]:
    """Return what loads a SavedModel that computes `y` of an `x` of this shape."""

    def decorate(compute: Callable[[Any], Any]) -> Make:
        def make(folder: Path) -> object:
            import tensorflow as tf

            spec = tf.TensorSpec(shape, tf.float32, "x")
            return load_model(
                exported(folder, lambda x: {"y": compute(x)}, spec), LoadOptions(**options)
            )

        return make

    return decorate


def exported(folder: Path, compute: Callable[..., Any], *specs: Any) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.serve = tf.function(compute, input_signature=specs)
    tf.saved_model.save(module, folder / "m", signatures={"serving_default": module.serve})
    return folder / "m"


def edited(change: Callable[[Any], None]) -> Make:
    """Return what loads a SavedModel after a change of what its file says."""

    def make(folder: Path) -> object:
        import tensorflow as tf
        from tensorflow.core.protobuf import saved_model_pb2

        path = exported(folder, lambda x: {"y": x}, tf.TensorSpec([None], tf.float32, "x"))
        found = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        change(found)
        (path / "saved_model.pb").write_bytes(found.SerializeToString())
        return load_model(path)

    return make


def with_entry(add: Callable[[Path], object]) -> Make:
    """Return what loads a folder that looks like a SavedModel, with one more entry in it."""

    def make(folder: Path) -> object:
        (folder / "saved_model.pb").write_bytes(b"")
        add(folder / "entry")
        return load_model(folder)

    return make


def for_training(file: Any) -> None:
    for graph in (file.meta_graphs[0], file.meta_graphs.add()):
        graph.meta_info_def.tags[:] = ["train"]


def add_operation(file: Any) -> None:
    for function in file.meta_graphs[0].graph_def.library.function:
        function.node_def.add(name="own", op="MyCompanysOp")


def write_file(x: Any) -> Any:
    import tensorflow as tf

    with tf.control_dependencies([tf.io.write_file("/tmp/canary", "x")]):
        return tf.identity(x)


def print_into_a_file(x: Any) -> Any:
    import tensorflow as tf

    tf.raw_ops.PrintV2(input="x", output_stream="file:///tmp/canary")
    return x


def complex_of(x: Any) -> Any:
    import tensorflow as tf

    return tf.complex(x, x)


def without_signature(folder: Path) -> object:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), folder / "m")
    return load_model(folder / "m")


def without_weights(folder: Path) -> object:
    import tensorflow as tf

    spec = tf.TensorSpec([None, 1], tf.float32, "x")
    module = tf.Module()
    module.w = tf.Variable(1.0)
    module.f = tf.function(lambda x: {"y": x * module.w}, input_signature=[spec])
    tf.saved_model.save(module, folder / "m", signatures={"serving_default": module.f})
    (folder / "m" / "variables" / "variables.index").unlink()
    return load_model(folder / "m")


def damaged_graph(folder: Path) -> object:
    (folder / "saved_model.pb").write_bytes(b"\xff" * 100)
    return load_model(folder)


def different_rows(folder: Path) -> object:
    import tensorflow as tf

    specs = [tf.TensorSpec([rows, 1], tf.float32, f"x{rows}") for rows in (2, 3)]
    return load_model(exported(folder, lambda a, b: {"y": a[:1] + b[:1]}, *specs))


def table_of_a_file(folder: Path) -> object:
    """Have an initializer read a file that the graph names, and that is no asset."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    (folder / "words.txt").write_text("a\n")
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    words = str(folder / "words.txt")
    of_file = tf.lookup.TextFileInitializer(words, tf.string, whole, tf.int64, number)
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(of_file, -1)
    spec = tf.TensorSpec([None], tf.string, "x")
    module.f = tf.function(lambda x: {"y": module.table.lookup(x)}, input_signature=[spec])
    tf.saved_model.save(module, folder / "m", signatures={"serving_default": module.f})
    path = folder / "m" / "saved_model.pb"
    found = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for node in found.meta_graphs[0].object_graph_def.nodes:
        if node.WhichOneof("kind") == "asset":
            node.constant.operation = "Const"
    path.write_bytes(found.SerializeToString())
    return load_model(folder / "m")


def add_asset(file: Any) -> None:
    file.meta_graphs[0].asset_file_def.add(filename="../../../etc/passwd")


def with_import(name: str, text: str | None, class_name: str = "Mine") -> Make:
    """Return what loads a file that needs a class of a module, with `model.imports` set to it."""

    def make(folder: Path) -> object:
        if text is not None:
            (folder / f"{name}.py").write_text(text)
        config = sequential(layer(class_name, name))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", [str(folder), *sys.path])
            path = write_keras(folder / "m.keras", config)
            return load_model(path, LoadOptions(imports=(name,)))

    return make


def called_as_in_keras_3(folder: Path) -> object:
    config = sequential(dense())
    first, second = config["config"]["layers"]
    second["inbound_nodes"] = [{"args": [7], "kwargs": {}}]
    config["class_name"] = "Functional"
    first["inbound_nodes"] = []
    return load_model(write_h5(folder / "m.h5", config, "2.15.0"))


def only_a_layer(folder: Path) -> object:
    return load_model(write_keras(folder / "m.keras", dense()))


def one_row(x: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_sum(x, axis=0, keepdims=True)


def scalar_input(folder: Path) -> object:
    import tensorflow as tf

    spec = tf.TensorSpec([], tf.float32, "x")
    return load_model(exported(folder, lambda x: {"y": x[None]}, spec))


REFUSED: dict[str, Make] = {
    "has no signature; export it with …": without_signature,
    "has no signature … (it has: …); set model.signature to one": served(None, signature="other")(
        lambda x: x
    ),
    "has no graph for serving (tags: …); export it": edited(for_training),
    "its saved_model.pb is cut off or damaged": damaged_graph,
    "TensorFlow cannot load it: …": without_weights,
    "its … is a link out of the folder": with_entry(lambda path: path.symlink_to("/etc/passwd")),
    "its … is a link to nothing": with_entry(lambda path: path.symlink_to("nothing")),
    "its … is neither a file nor a folder; remove it": with_entry(os.mkfifo),
    "its asset … is outside of its folder": edited(add_asset),
    "runs the operation …, which is not among those that only compute": served(None)(write_file),
    "needs the operation …, which is not part of TensorFlow": edited(add_operation),
    "fills a table from a file that is not one of its assets": table_of_a_file,
    "prints into a file": served(None)(print_into_a_file),
    "its input … is a single value for all rows together": scalar_input,
    "its output … is a single value for all rows together": served(None, 1)(lambda x: x[0, 0]),
    "its output … has … rows, however many it is given": served(None, 1)(one_row),
    "its inputs have different first dimensions (…)": different_rows,
    "… is of type …, and only numbers and strings are served": served(None, 1)(complex_of),
    "model.imports: … cannot be imported: …": with_import("not_there", None),
    "model.imports: … raises …: …": with_import("breaks_here", "raise ValueError('no')"),
    "needs …, which no module of model.imports: […] has": with_import("has_others", ""),
    "a layer is called as in Keras 3; save the model as .keras": called_as_in_keras_3,
    "holds a … where a model is expected": only_a_layer,
}
