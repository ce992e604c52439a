"""Makes SavedModels of plain TensorFlow, and changes what their files say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.late import Late

tf: Any = Late("tensorflow")


def save(folder: Path, compute: Callable[[Any], Any], **attributes: Any) -> Path:
    """Save a module whose signature takes a vector `x` and gives `y`."""
    spec = tf.TensorSpec([None], tf.float32, "x")
    return export(folder, lambda x: {"y": compute(x)}, spec, **attributes)


def export(folder: Path, compute: Callable[..., Any], *specs: Any, **attributes: Any) -> Path:
    """Save a module with attributes and one signature, which takes what `specs` say."""
    module = tf.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    module.serve = tf.function(compute, input_signature=specs)
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
    return folder


def edit(folder: Path, change: Callable[[Any], None]) -> Path:
    """Change the only graph of a SavedModel by hand."""
    return edit_file(folder, lambda file: change(file.meta_graphs[0]))


def edit_file(folder: Path, change: Callable[[Any], None]) -> Path:
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    found = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(found)
    path.write_bytes(found.SerializeToString())
    return folder


def vocabulary_table(path: Path) -> Any:
    path.write_text("a\nb\n")
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    of_file = tf.lookup.TextFileInitializer(str(path), tf.string, whole, tf.int64, number)
    return tf.lookup.StaticVocabularyTable(of_file, 1)


def of_tensorflow_1(folder: Path, start: Callable[[], Any] | None = None) -> Path:
    """Save as TensorFlow 1 did: the file says what to run when it is loaded."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 2], name="x")
        y = tf.matmul(x, v1.get_variable("w", [2, 1]))
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def({"x": info(x)}, {"y": info(y)})
        signatures = {"serving_default": signature}
        main = None if start is None else start()
        builder.add_meta_graph_and_variables(session, ["serve"], signatures, main_op=main)
        builder.save()
    return folder
