"""What a SavedModel may do when it is loaded and called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.formats.allowed_graph import check_saved_model
from model.formats.files import ModelError
from tests.model.formats.saved_models import (
    edit,
    edit_file,
    of_tensorflow_1,
    save,
    vocabulary_table,
)
from tests.support.late import Late

pytestmark = pytest.mark.keras

tf: Any = Late("tensorflow")


def refusal(folder: Path, signature: str = "") -> str:
    with pytest.raises(ModelError) as caught:
        check_saved_model(folder, signature)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text.removeprefix(f"{folder}: ")


def touch(x: Any) -> Any:
    with tf.control_dependencies([tf.io.write_file("/tmp/canary", "x")]):
        return tf.identity(x)


def read(x: Any) -> Any:
    return tf.fill(tf.shape(x), tf.io.read_file("/etc/passwd"))


BODIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "writes a file": (touch, "WriteFile"),
    "reads a file": (read, "ReadFile"),
    "lists files": (lambda x: tf.io.matching_files("/etc/*"), "MatchingFiles"),
    "calls Python": (lambda x: tf.py_function(lambda a: a, [x], tf.float32), "EagerPyFunc"),
    "calls numpy": (lambda x: tf.numpy_function(lambda a: a, [x], tf.float32), "PyFunc"),
    "writes in a branch": (
        lambda x: tf.cond(tf.size(x) > 3, lambda: touch(x), lambda: x),
        "WriteFile",
    ),
    "writes in a loop": (
        lambda x: tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, touch(a)), (0, x))[1],
        "WriteFile",
    ),
    "writes in an inner function": (lambda x: tf.function(touch)(x), "WriteFile"),
    "writes in a map": (lambda x: tf.map_fn(touch, x), "WriteFile"),
    "reads records": (
        lambda x: tf.data.TFRecordDataset("/tmp/r").reduce(0.0, lambda a, _: a),
        "Dataset",
    ),
    "restores": (
        lambda x: tf.raw_ops.RestoreV2(
            prefix="/tmp/p", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
        )[0],
        "RestoreV2",
    ),
    "prints into a file": (
        lambda x: (tf.raw_ops.PrintV2(input="x", output_stream="file:///tmp/canary") and x) or x,
        "prints into a file",
    ),
    "decodes by a descriptor file": (
        lambda x: tf.io.decode_proto(
            tf.as_string(x), "m", ["a"], [tf.float32], descriptor_source="/tmp/d"
        )[0],
        "DecodeProtoV2",
    ),
    "maps memory of a file": (
        lambda x: tf.raw_ops.ImmutableConst(
            dtype=tf.float32, shape=[1], memory_region_name="/etc/passwd"
        ),
        "ImmutableConst",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_operations_that_do_more_than_compute_are_refused_by_name(
    name: str, tmp_path: Path
) -> None:
    compute, named = BODIES[name]

    assert named in refusal(save(tmp_path / "m", compute))


def test_only_the_served_signature_and_what_loading_runs_is_looked_at(tmp_path: Path) -> None:
    """Every SavedModel saves and restores; another signature may do what it likes."""
    spec = tf.TensorSpec([None], tf.float32, "x")
    module = tf.Module()
    module.good = tf.function(lambda x: {"y": x * 2}, input_signature=[spec])
    module.bad = tf.function(lambda x: {"y": touch(x)}, input_signature=[spec])
    signatures = {"serving_default": module.good, "write": module.bad}
    tf.saved_model.save(module, tmp_path / "m", signatures=signatures)

    check_saved_model(tmp_path / "m")
    assert "WriteFile" in refusal(tmp_path / "m", "write")
    check_saved_model(tmp_path / "m", "write", allow_code=True)
    assert "it has: serving_default, write" in refusal(tmp_path / "m", "other")


def test_what_computes_is_allowed(tmp_path: Path) -> None:
    table = vocabulary_table(tmp_path / "words.txt")
    weight = tf.Variable(2.0)

    def compute(x: Any) -> Any:
        tf.print("one call")
        found = tf.cast(table.lookup(tf.as_string(x)), tf.float32) * weight
        return tf.map_fn(lambda a: tf.cond(a > 0, lambda: a, lambda: -a), found)

    check_saved_model(save(tmp_path / "m", compute, table=table, weight=weight))


def test_a_table_may_only_be_filled_from_an_asset(tmp_path: Path) -> None:
    """Which file an initializer reads must not be a text in the graph."""
    table = vocabulary_table(tmp_path / "words.txt")
    folder = save(tmp_path / "m", lambda x: table.lookup(tf.as_string(x)), table=table)

    def name_the_file(graph: Any) -> None:
        for node in graph.object_graph_def.nodes:
            if node.WhichOneof("kind") == "asset":
                node.constant.operation = "Const"

    assert "not one of its assets" in refusal(edit(folder, name_the_file))


@pytest.mark.parametrize("method", ["_create_resource", "_initialize", "_destroy_resource"])
def test_what_makes_and_fills_tables_is_looked_at(method: str, tmp_path: Path) -> None:
    table = vocabulary_table(tmp_path / "words.txt")
    folder = save(tmp_path / "m", lambda x: table.lookup(tf.as_string(x)), table=table)

    def write_a_file(graph: Any) -> None:
        nodes = graph.object_graph_def.nodes
        ids = [c.node_id for node in nodes for c in node.children if c.local_name == method]
        (name,) = nodes[ids[0]].function.concrete_functions
        for function in graph.graph_def.library.function:
            if function.signature.name == name:
                function.node_def.add(name="evil", op="WriteFile")

    assert "WriteFile" in refusal(edit(folder, write_a_file))


def test_an_operation_that_tensorflow_does_not_have_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", lambda x: x * 2)

    def add_it(graph: Any) -> None:
        for function in graph.graph_def.library.function:
            function.node_def.add(name="evil", op="MyCompanysOp")

    assert refusal(edit(folder, add_it)).startswith("needs the operation MyCompanysOp, which is")


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd"])
def test_an_asset_outside_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    table = vocabulary_table(tmp_path / "words.txt")
    folder = save(tmp_path / "m", lambda x: table.lookup(tf.as_string(x)), table=table)
    edit(folder, lambda graph: setattr(graph.asset_file_def[0], "filename", name))

    assert f"its asset {name!r} is outside" in refusal(folder)


@pytest.mark.parametrize("name", ["assets/words.txt", "variables/variables.index"])
def test_a_link_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    table = vocabulary_table(tmp_path / "words.txt")
    folder = save(tmp_path / "m", lambda x: table.lookup(tf.as_string(x)), table=table)
    (folder / name).rename(tmp_path / "moved")
    (folder / name).symlink_to(tmp_path / "moved")

    assert f"its {name} is a link out of the folder" in refusal(folder)


def test_links_inside_the_folder_are_allowed(tmp_path: Path) -> None:
    """Kubernetes mounts a ConfigMap so."""
    folder = save(tmp_path / "m", lambda x: x * 2)
    (folder / "..data").mkdir()
    (folder / "saved_model.pb").rename(folder / "..data" / "saved_model.pb")
    (folder / "saved_model.pb").symlink_to(Path("..data") / "saved_model.pb")

    check_saved_model(folder)


@pytest.mark.logs_warnings  # what TensorFlow 1 offered is deprecated
def test_a_model_of_tensorflow_1_is_allowed_unless_its_start_does_more(tmp_path: Path) -> None:
    check_saved_model(of_tensorflow_1(tmp_path / "good"))

    write = lambda: tf.io.write_file("/tmp/canary", "x")  # noqa: E731  # two calls away
    assert "WriteFile" in refusal(of_tensorflow_1(tmp_path / "bad", write))


@pytest.mark.logs_warnings  # what TensorFlow 1 offered is deprecated
def test_two_graphs_do_not_hide_what_the_start_runs(tmp_path: Path) -> None:
    """TensorFlow takes a file with two graphs for one of TensorFlow 1, objects or not."""

    def add_a_graph(file: Any) -> None:
        file.meta_graphs[0].object_graph_def.nodes.add()
        file.meta_graphs.add().meta_info_def.tags.append("other")

    folder = of_tensorflow_1(tmp_path / "m", lambda: tf.io.write_file("/tmp/canary", "x"))

    assert "WriteFile" in refusal(edit_file(folder, add_a_graph))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", lambda x: x * 2)
    (folder / "saved_model.pb").write_bytes(b"\xff" * 100)

    assert "cut off or damaged" in refusal(folder)


def test_an_object_that_is_named_and_not_there_is_damage(tmp_path: Path) -> None:
    def point_nowhere(graph: Any) -> None:
        for node in graph.object_graph_def.nodes:
            for child in node.children:
                child.node_id = 999

    folder = edit(save(tmp_path / "m", lambda x: x * 2), point_nowhere)

    assert refusal(folder).startswith("its saved_model.pb is cut off or damaged; ")


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", lambda x: x * 2)
    (folder / "loop").symlink_to("loop")

    assert refusal(folder).startswith("its loop is a link to nothing; ")
