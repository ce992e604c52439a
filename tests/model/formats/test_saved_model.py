"""SavedModel folders of Keras 3, Keras 2 and TensorFlow: names, types and answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.formats.load import LoadOptions, ModelError, TensorFlowEngine, load_model
from model.process import loader
from model.process.prepare import LoadRequest
from model.process.trials import MAX_NOISE, Trials
from tests.model.formats.saved_models import export
from tests.support.late import Late

pytestmark = pytest.mark.keras

tf: Any = Late("tensorflow")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of plain TensorFlow, with a table, its asset, and many signatures."""
    folder = tmp_path_factory.mktemp("plain") / "words"
    save_words(folder)
    return folder


def save_words(folder: Path) -> None:
    text = folder.with_suffix(".txt")
    text.write_text("no\nyes\n")
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    initializer = tf.lookup.TextFileInitializer(str(text), tf.string, whole, tf.int64, number)
    module = tf.Module()
    module.scale = tf.Variable([2.0, 3.0])
    module.table = tf.lookup.StaticHashTable(initializer, -1)

    def several(numbers: Any, words: Any) -> dict[str, Any]:
        known = module.table.lookup(words)
        scaled = tf.cast(numbers, tf.float32) * module.scale
        many = {f"part_{number}": numbers * number for number in (10, 2)}
        return {"same": words, "known": known, "a b/ü": scaled, **many}

    numbers = tf.TensorSpec([None, 2], tf.bfloat16, "numbers")
    several_words = tf.TensorSpec([None, None], tf.string, "words")
    module.several = tf.function(several, input_signature=[numbers, several_words])
    signatures = {"several": module.several} | {
        name: function_of(compute, *shape)
        for name, (compute, shape) in {
            "fixed": (lambda x: x * tf.range(3.0)[:, None], (3, 1)),
            "total": (tf.reduce_sum, (None, 1)),
            "scalar": (lambda x: x[None], ()),
            "one": (lambda x: tf.reduce_sum(x, axis=0, keepdims=True), (None, 1)),
            "complex": (lambda x: tf.complex(x, x), (None, 1)),
            "random": (lambda x: x + tf.random.uniform(tf.shape(x)), (None, 1)),
        }.items()
    }
    tf.saved_model.save(module, folder, signatures=signatures)
    text.unlink()


def function_of(compute: Callable[[Any], Any], *shape: int | None) -> Any:
    spec = tf.TensorSpec(shape, tf.float32, "x")
    return tf.function(lambda x: {"y": compute(x)}, input_signature=[spec])


def load(folder: Path, signature: str = "") -> TensorFlowEngine:
    return load_model(folder, LoadOptions(signature=signature))


def answers(engine: TensorFlowEngine, **arrays: Any) -> dict[str, np.ndarray]:
    ordered = [np.asarray(arrays[spec.name], spec.array_dtype) for spec in engine.signature.inputs]
    names = [spec.name for spec in engine.signature.outputs]
    return dict(zip(names, engine.call(ordered), strict=True))


def refusal(folder: Path, signature: str = "") -> str:
    with pytest.raises(ModelError) as caught:
        load(folder, signature)
    return str(caught.value).removeprefix(f"{folder}: ")


def test_an_export_of_keras_3_answers_as_the_model_did(tmp_path: Path) -> None:
    import keras

    user, item = keras.Input((3,), name="user"), keras.Input((2,), name="item")
    joined = keras.layers.Concatenate()([user, item])
    many = [keras.layers.Dense(1)(joined) for _ in range(11)]
    model = keras.Model([user, item], many)
    model.export(str(tmp_path / "m"), verbose=False)
    users, items = np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([[1, 0], [0, 1]])
    expected = model([users, items])

    engine = load(tmp_path / "m")
    found = answers(engine, user=users, item=items)

    assert str(engine.signature).startswith("item: float32[2], user: float32[3] → output_0:")
    assert [*found] == [f"output_{number}" for number in range(11)]
    for one, other in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_folder_of_keras_2_is_served_without_its_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import tf_keras

    class Twice(tf_keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    layers = [tf_keras.Input((2,), name="x"), tf_keras.layers.Dense(2, "hard_sigmoid"), Twice()]
    layers.append(tf_keras.layers.Lambda(lambda x: x + 1, name="y"))
    model = tf_keras.Sequential(layers)
    model.save(tmp_path / "m", save_format="tf")
    caplog.clear()  # Keras warns of functions that are not saved
    rows = np.float32([[0.5, -1], [2, 3]])

    found = answers(load(tmp_path / "m"), x=rows)

    np.testing.assert_allclose(found["y"], model(rows), rtol=1e-5)


def test_a_folder_of_tensorflow_1(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x, z = (v1.placeholder(tf.float32, [None, 2]) for _ in range(2))
        y = x * v1.get_variable("w", initializer=tf.constant([2.0, 3.0])) - z
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.build_tensor_info
        definition = v1.saved_model.build_signature_def(
            {"z": info(z), "x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"
        )
        builder = v1.saved_model.Builder(str(tmp_path / "m"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"only": definition})
        builder.save()
    caplog.clear()  # TensorFlow warns that this is deprecated

    engine = load(tmp_path / "m")

    assert engine.signature.name == "only"
    assert answers(engine, x=[[1, 1]], z=[[0, 1]])["y"].tolist() == [[2, 2]]


def test_names_types_and_tables_of_plain_tensorflow(words: Path) -> None:
    engine = load(words, "several")
    found = answers(engine, words=[["yes", "?"], ["no", "no"]], numbers=[[1, 1], [0, 2]])

    assert str(engine.signature) == (
        "numbers: float32[2], words: string[?] → "
        "a b/ü: float32[2], known: int64[?], part_2: float32[2], part_10: float32[2], "
        "same: string[?]"
    )
    assert engine.signature.name == "several"
    assert found["known"].tolist() == [[1, -1], [0, 0]]
    assert found["a b/ü"].tolist() == [[2, 3], [0, 6]]
    assert found["part_10"].tolist() == [[10, 10], [0, 20]]
    assert found["same"].tolist() == [[b"yes", b"?"], [b"no", b"no"]]


def test_input_that_is_smaller_than_a_window_is_rejected(tmp_path: Path) -> None:
    """By itself TensorFlow may answer with what happens to be in memory."""
    import keras

    image = keras.Input((None, None, 1), name="image")
    pooled = keras.layers.MaxPooling2D(4)(keras.layers.Conv2D(2, 3)(image))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(pooled))
    model.export(str(tmp_path / "m"), verbose=False)
    engine = load(tmp_path / "m")
    images = np.arange(128, dtype="float32").reshape(2, 8, 8, 1)

    found = answers(engine, image=images)["output_0"]

    np.testing.assert_allclose(found, model(images), rtol=1e-5)
    for size in (2, 5):
        with pytest.raises(Exception, match="the window of a layer takes"):
            answers(engine, image=images[:, :size, :size])


def test_a_fixed_number_of_rows_is_filled_up(words: Path) -> None:
    engine = load(words, "fixed")

    assert engine.fixed_rows == 3
    assert answers(engine, x=[[5], [5]])["y"].tolist() == [[0], [5]]


@pytest.mark.parametrize(
    "signature, why",
    [
        ("", "has no signature 'serving_default' (it has: complex, fixed, one, random, scalar, "),
        ("other", "has no signature 'other' (it has: complex, fixed,"),
        ("total", "its output y is a single value for all rows together; export a signature"),
        ("one", "its output y has 1 rows, however many it is given; export a signature"),
        ("scalar", "its input x is a single value for all rows together; export it with an"),
        ("complex", "y is of type complex64, and only real numbers, bool and strings are served"),
    ],
)
def test_signatures_that_cannot_be_served(words: Path, signature: str, why: str) -> None:
    assert refusal(words, signature).startswith(why)


def test_a_folder_without_a_signature(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), tmp_path / "m")

    assert refusal(tmp_path / "m").startswith("has no signature; export it with `tf.saved_model")


def test_random_answers_of_a_signature_are_noise(words: Path) -> None:
    assert Trials(load(words, "fixed"), "m").noise == 0
    assert Trials(load(words, "random"), "m").noise > MAX_NOISE


def counting(folder: Path, compute: Callable[[Any, Any], Any]) -> Path:
    """A model that adds how many calls it has had, 10 when it was saved, to each row."""
    count = tf.Variable(10.0)
    weight = tf.Variable(1.0)
    return export(
        folder,
        lambda x: {"y": compute(count, x) * weight},
        tf.TensorSpec([None, 1], tf.float32, "x"),
        count=count,
        weight=weight,
    )


def in_a_branch(count: Any, x: Any) -> Any:
    return x + tf.cond(tf.size(x) > 0, lambda: count.assign_add(1.0), lambda: count + 0.0)


def in_a_loop(count: Any, x: Any) -> Any:
    def step(number: Any) -> tuple[Any]:
        count.assign_add(1.0)
        return (number + 1,)

    tf.while_loop(lambda number: number < 1, step, [0])
    return x + count


COUNTS = {
    "at once": lambda count, x: x + count.assign_add(1.0),
    "in a branch": in_a_branch,
    "in a loop": in_a_loop,
    "in an inner function": lambda count, x: tf.function(lambda y: y + count.assign_add(1.0))(x),
    "at one place": lambda count, x: x + count.assign(tf.maximum(count, 10.0) + 1.0),
}


@pytest.mark.parametrize("name", COUNTS)
def test_each_call_begins_with_the_state_in_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    engine = load(counting(tmp_path / "m", COUNTS[name]))

    assert [answers(engine, x=[[1], [2]])["y"].tolist() for _ in range(3)] == 3 * [[[12], [13]]]
    assert not caplog.records


@pytest.mark.parametrize("keep_state, expected", [(False, [15, 15]), (True, [15, 16])])
def test_state_beside_a_window_that_is_checked(
    tmp_path: Path, keep_state: bool, expected: list[int]
) -> None:
    """The functions of such a model are put in place of their calls."""
    count = tf.Variable(10.0)

    def compute(x: Any) -> dict[str, Any]:
        y = tf.nn.conv1d(x, tf.ones([3, 1, 1]), 1, "VALID")
        return {"y": tf.reduce_sum(y, axis=[1, 2]) + count.assign_add(1.0)}

    spec = tf.TensorSpec([None, None, 1], tf.float32, "x")
    folder = export(tmp_path / "m", compute, spec, count=count)
    engine = load_model(folder, LoadOptions(keep_state=keep_state))

    assert [answers(engine, x=[[[1], [1], [1], [-1]]])["y"][0] for _ in range(2)] == expected


def test_state_is_kept_where_that_is_set(tmp_path: Path) -> None:
    folder = counting(tmp_path / "m", COUNTS["at once"])

    engine = load_model(folder, LoadOptions(keep_state=True))

    assert [answers(engine, x=[[1]])["y"].tolist() for _ in range(3)] == [[[12]], [[13]], [[14]]]


@pytest.mark.parametrize("library", ["keras", pytest.param("tf_keras", marks=pytest.mark.torture)])
@pytest.mark.logs_warnings  # Keras 2 warns when it saves
def test_the_state_of_an_exported_layer_is_reset(tmp_path: Path, library: str) -> None:
    keras = import_module(library)
    layer = keras.layers.LSTM(3, stateful=True)
    model = keras.Sequential([keras.Input((4, 2), batch_size=2), layer])
    rows = np.random.default_rng(0).standard_normal((2, 4, 2)).astype("float32")
    expected = model(rows).numpy()
    (getattr(layer, "reset_state", None) or layer.reset_states)()
    if library == "keras":  # it leaves the number of rows open
        model.export(tmp_path / "m", verbose=False)
    else:
        model.save(tmp_path / "m", save_format="tf")

    engine = load(tmp_path / "m")
    (name,) = (spec.name for spec in engine.signature.inputs)

    for _ in range(2):
        (found,) = answers(engine, **{name: rows}).values()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.logs_warnings  # Keras says what it exports
def test_the_seed_of_a_random_layer_is_no_state(tmp_path: Path) -> None:
    """To set it back at each call would hide that the layer is switched on."""
    import keras

    image = keras.Input((2, 2, 3), name="image")
    keras.Model(image, keras.layers.RandomBrightness(0.5)(image)).export(
        tmp_path / "m", verbose=False
    )

    assert Trials(load(tmp_path / "m"), "m").noise > MAX_NOISE


def test_a_folder_whose_weights_are_missing(tmp_path: Path) -> None:
    module = tf.Module()
    module.w = tf.Variable(1.0)
    module.f = function_of(lambda x: x * module.w, None, 1)
    tf.saved_model.save(module, tmp_path / "m", signatures={"serving_default": module.f})
    (tmp_path / "m" / "variables" / "variables.index").unlink()

    assert refusal(tmp_path / "m").startswith("TensorFlow cannot load it: ")


def test_a_folder_that_is_kept_open_is_loaded_after_it_was_renamed(tmp_path: Path) -> None:
    save_words(tmp_path / "m")
    descriptor = os.open(tmp_path / "m", os.O_RDONLY)
    (tmp_path / "m").rename(tmp_path / "before")
    options = LoadOptions(signature="several")
    request = LoadRequest(f"/proc/{os.getpid()}/fd/{descriptor}", str(tmp_path / "m"), options)
    try:
        engine = loader.load(request)
    finally:
        os.close(descriptor)

    assert answers(engine, words=[["yes"]], numbers=[[1, 1]])["known"].tolist() == [[1]]
