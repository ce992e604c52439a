from __future__ import annotations

import base64
import json
import marshal
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from model.formats.load import LoadOptions, ModelError, TensorFlowEngine, load_model
from model.process.neighbours import Neighbours
from model.process.trials import Trials
from model.signature import Signature, TensorSpec
from model.tensors import RowCountMismatch, Tensors
from tests.support.late import Late

pytestmark = pytest.mark.keras

keras: Any = Late("keras")


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Save a model, as `.keras` unless said otherwise, and return the path."""

    def save(model: Any, ending: str = ".keras") -> Path:
        path = tmp_path / f"m{ending}"
        model.save(path)
        return path

    return save


@pytest.fixture
def load(save: Callable[..., Path]) -> Callable[..., TensorFlowEngine]:
    """Send a model through a file."""
    return lambda model, ending=".keras": load_model(save(model, ending))


def trials(model: TensorFlowEngine) -> Trials:
    """Calls that try a model, whose variable dimensions have a size that it takes."""
    trials = Trials(model, "m.keras")
    trials.find_rows()
    return trials


def sequential(*layers: Any, shape: tuple[int | None, ...] = (1,)) -> Any:
    return keras.Sequential([keras.Input(shape, name="x"), *layers])


def rows(*values: float) -> Tensors:
    return Tensors({"x": np.array(values, dtype="float32")[:, None]})


def message_of(path: Path) -> tuple[str, BaseException | None]:
    """What the one line says after the path, and what led to it."""
    with pytest.raises(ModelError) as refused:
        load_model(path)
    line = str(refused.value)
    assert "\n" not in line
    assert len(line) < 400
    return line.removeprefix(f"{path}: "), refused.value.__cause__


# What it answers


@pytest.fixture(scope="module")
def example(example_model: Path) -> TensorFlowEngine:
    model = load_model(example_model)
    trials(model).warm_up(64)
    return model


def test_the_example_model_answers_31_for_10(example: TensorFlowEngine):
    (answer,) = example.predict([rows(10)])
    assert answer.arrays["y"] == pytest.approx(31, abs=0.01)
    assert answer.arrays["y"].shape == (1, 1)


def test_each_part_gets_the_answers_to_its_own_rows(example: TensorFlowEngine):
    answers = example.predict([rows(1, 2), rows(3), rows(4, 5, 6)])

    flat = [answer.arrays["y"].ravel().tolist() for answer in answers]
    assert flat[0] == pytest.approx([4, 7], abs=0.01)
    assert flat[1] == pytest.approx([10], abs=0.01)
    assert flat[2] == pytest.approx([13, 16, 19], abs=0.01)


def test_it_answers_as_the_model_itself_does(load: Callable[..., TensorFlowEngine]):
    model = sequential(keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3, name="y"))
    x = np.linspace(-5, 5, 33, dtype="float32")[:, None]

    (answer,) = load(model).predict([Tensors({"x": x})])
    np.testing.assert_allclose(answer.arrays["y"], model(x).numpy(), atol=1e-6)


def test_it_answers_as_in_inference(load: Callable[..., TensorFlowEngine]):
    """Dropout does nothing, and BatchNormalization goes by what it has learnt."""
    model = sequential(keras.layers.Dropout(0.9), keras.layers.BatchNormalization(epsilon=0))
    (answer,) = load(model).predict([rows(1, 2, 3)])

    assert next(iter(answer.arrays.values())).ravel().tolist() == [1, 2, 3]


def test_batches_of_any_size_are_answered(example: TensorFlowEngine):
    for size in (1, 2, 3, 5, 8, 13, 63, 64, 65, 100, 1000, 1):
        [answer] = example.predict([rows(*range(size))])
        expected = pytest.approx([3 * x + 1 for x in range(size)], abs=0.1)
        assert answer.arrays["y"].ravel().tolist() == expected


def test_variable_dimensions_of_any_size_are_answered(load: Callable[..., TensorFlowEngine]):
    model = load(sequential(keras.layers.GlobalMaxPooling1D(name="y"), shape=(None, 2)))
    trials(model).warm_up(3)
    for length in (1, 2, 7, 100):
        for size in (1, 4):
            x = np.arange(size * length * 2, dtype="float32").reshape(size, length, 2)
            (answer,) = model.predict([Tensors({"x": x})])
            assert answer.arrays["y"].tolist() == x.max(axis=1).tolist()


def test_a_model_that_returns_too_many_rows_is_an_error(load: Callable[..., TensorFlowEngine]):
    x = keras.Input((1,), name="x")
    model = load(keras.Model(x, keras.ops.concatenate([x, x], axis=0)))
    with pytest.raises(RowCountMismatch, match="4 rows came out where 2 went in"):
        model.predict([rows(1), rows(2)])


def test_a_model_that_merges_its_rows_into_one_is_an_error(load: Callable[..., TensorFlowEngine]):
    x = keras.Input((1,), name="x")
    model = load(keras.Model(x, keras.ops.mean(x, axis=0, keepdims=True)))
    with pytest.raises(RowCountMismatch, match="1 rows came out where 2 went in"):
        model.predict([rows(1), rows(2)])


# What it says of itself


def test_the_signature_of_the_example(example: TensorFlowEngine):
    spec = TensorSpec("x", (1,), "float32")
    assert example.signature == Signature((spec,), (TensorSpec("y", (1,), "float32"),))


def two_inputs() -> tuple[Any, Any, Any, Any]:
    user, item = keras.Input((2,), name="user", dtype="int32"), keras.Input((None,), name="item")
    score = keras.layers.Dense(3, name="score")(keras.layers.Embedding(4, 2)(user))
    best = keras.layers.GlobalMaxPooling1D(name="best")(keras.layers.Reshape((-1, 1))(item))
    return user, item, score, best


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_lists_go_by_the_names_of_inputs_and_output_layers(
    load: Callable[..., TensorFlowEngine], ending: str
):
    user, item, score, best = two_inputs()
    model = load(keras.Model([user, item], [score, best]), ending)

    assert list(map(str, model.signature.inputs)) == [
        "user: int32[2] from 0 to 3",
        "item: float32[?]",
    ]
    assert list(map(str, model.signature.outputs)) == ["score: float32[2, 3]", "best: float32[1]"]


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_dicts_go_by_their_keys(load: Callable[..., TensorFlowEngine], ending: str):
    """In the order they were written in, and whatever their tensors are called."""
    user, item, score, best = two_inputs()
    model = load(keras.Model({"u": user, "i": item}, {"s": score, "b": best}), ending)
    trials(model).warm_up(2)

    assert list(map(str, model.signature.inputs)) == [
        "u: int32[2] from 0 to 3",
        "i: float32[?]",
    ]
    assert list(map(str, model.signature.outputs)) == ["s: float32[2, 3]", "b: float32[1]"]
    x = {"i": np.array([[1, 5, 2]], "float32"), "u": np.array([[0, 3]], "int32")}
    (answer,) = model.predict([Tensors(x)])
    assert {name: array.shape for name, array in answer.arrays.items()} == {
        "s": (1, 2, 3),
        "b": (1, 1),
    }
    assert answer.arrays["b"].tolist() == [[5]]


def test_rows_may_be_single_numbers(load: Callable[..., TensorFlowEngine]):
    x = keras.Input((), name="x")
    model = load(keras.Model(x, keras.layers.Rescaling(2.0, name="y")(x)))

    assert str(model.signature.inputs[0]) == "x: float32[]"
    (answer,) = model.predict([Tensors({"x": np.array([1, 2], "float32")})])
    assert answer.arrays["y"].tolist() == [2, 4]


def test_a_file_that_was_built_on_a_batch_of_two_takes_any_number(
    load: Callable[..., TensorFlowEngine],
):
    model = keras.Sequential([keras.layers.Dense(1, name="y")])
    model(np.zeros((2, 3)))

    model = load(model)
    assert str(model.signature.inputs[0]).endswith("float32[3]")
    trials(model).warm_up(5)


def test_bfloat16_comes_out_as_float32(load: Callable[..., TensorFlowEngine]):
    model = load(sequential(keras.layers.Dense(1, dtype="mixed_bfloat16", name="y")))

    assert str(model.signature.outputs[0]) == "y: float32[1]"
    assert model.predict([rows(1)])[0].arrays["y"].dtype == np.float32


# What it refuses


def test_a_wrong_file_is_rejected_before_keras_sees_it(tmp_path: Path):
    assert message_of(tmp_path / "m.keras")[0].startswith("no such file")


def test_a_wrong_digest_is_rejected(example_model: Path):
    with pytest.raises(ModelError, match=r"its SHA-256 is [0-9a-f]{64}, but ff is expected"):
        load_model(example_model, LoadOptions(sha256="ff"))


def lambda_layer() -> Any:
    return keras.layers.Lambda(lambda x: x * 3)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("nested", [False, True])
def test_python_code_in_a_file_is_rejected(save: Callable[..., Path], ending: str, nested: bool):
    inner = sequential(lambda_layer())
    model = sequential(keras.layers.TimeDistributed(inner), shape=(2, 1)) if nested else inner

    line, _ = message_of(save(model, ending))
    assert line.startswith("has the Lambda layer 'lambda")
    assert "with Python code in it" in line
    assert line.endswith("if you trust the file, set model.allow_code: true")


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the configuration of the model in a file."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
        return
    original = path.rename(path.with_suffix(".zip"))
    with zipfile.ZipFile(original) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("way", ["keras 2", "keras 3", "activation", "function"])
def test_code_slipped_into_a_file_never_runs(
    save: Callable[..., Path], tmp_path: Path, ending: str, way: str
):
    """By the ways that files of Keras 2 and 3 have of naming a function."""
    trap = tmp_path / "it-ran"
    source = compile(f"lambda x: open({str(trap)!r}, 'w') and x", "trap", "eval")
    code = base64.b64encode(marshal.dumps(source.co_consts[0])).decode()
    function: dict[str, Any] = {
        "keras 2": {"function": [code, None, None], "function_type": "lambda"},
        "keras 3": {
            "function": {
                "class_name": "__lambda__",
                "config": {"code": code, "defaults": None, "closure": None},
            }
        },
        "activation": {"class_name": "__lambda__", "config": {"value": [code, None, None]}},
        "function": {
            "class_name": "function",
            "module": "os",
            "config": "abort",
            "registered_name": "abort",
        },
    }[way]

    def change(config: dict[str, Any]) -> None:
        layer = config["config"]["layers"][-1]
        if "function" in function:
            layer |= {"class_name": "Lambda", "config": {"name": "y", **function}}
        else:
            layer["config"]["activation"] = function

    path = save(sequential(keras.layers.Dense(1, activation="relu", name="y")), ending)
    edit(path, change)
    message_of(path)
    assert not trap.exists()


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_an_unknown_class_is_named(save: Callable[..., Path], ending: str):
    class Mine(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    line, _ = message_of(save(sequential(Mine()), ending))
    assert line.startswith("needs Mine")
    assert "set model.imports" in line


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_sequential_without_an_input_shape(save: Callable[..., Path], ending: str):
    line, _ = message_of(save(keras.Sequential([keras.layers.Dense(1)]), ending))
    assert line.startswith("the model has no input shape; begin it with `keras.Input(shape)`")


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_configuration_that_is_none(save: Callable[..., Path], ending: str):
    path = save(sequential(keras.layers.Dense(1)), ending)
    edit(path, lambda config: config.clear())
    line, _ = message_of(path)
    assert line.startswith(("Expected object to be", "The provided configuration is not a valid"))


def test_weights_of_another_model(save: Callable[..., Path], tmp_path: Path):
    path = save(sequential(keras.layers.Dense(1)))
    edit(path, lambda config: config["config"]["layers"][-1]["config"].update(units=2))
    line, cause = message_of(path)
    assert line.startswith("The shape of the target variable")
    assert line.endswith("; save the model with `model.save('name.keras')`")
    assert cause is not None


def test_an_h5_file_under_the_other_ending(save: Callable[..., Path]):
    path = save(sequential(keras.layers.Dense(1)), ".h5")
    assert message_of(Path(shutil.copy(path, path.with_suffix(".keras"))))[0].startswith(
        "is an HDF5 file; rename it to .h5"
    )


def test_a_model_that_answers_another_number_of_rows_than_it_is_built_for(
    save: Callable[..., Path],
):
    x = keras.Input(batch_shape=(4, 3), name="x")
    line, _ = message_of(save(keras.Model(x, keras.layers.Add()(keras.ops.unstack(x, axis=0)))))
    assert line.startswith("answers 3 rows when it is called with 4; ")


@pytest.mark.parametrize(
    "call",
    [
        lambda x: keras.ops.not_equal(x, 0),
        lambda x: x + 3.0,
        lambda x: x * x,
        lambda x: x[:, :1],
    ],
)
def test_operations_in_an_h5_file_are_rejected(save: Callable[..., Path], call: Any):
    """Keras writes their names alone, and may take them for the layer of that name."""
    x = keras.Input((2,), name="x")
    line, _ = message_of(save(keras.Model(x, call(x)), ".h5"))
    assert line.startswith("calls ")
    assert "of keras.ops, which .h5 files lose; save the model as .keras" in line


def test_layers_that_keras_applications_define_are_found_in_an_h5_file(
    load: Callable[..., TensorFlowEngine],
):
    from keras.src.applications.convnext import LayerScale, StochasticDepth

    model = load(sequential(LayerScale(0.5, 1, name="y"), StochasticDepth(0.5)), ".h5")
    assert model.call([np.float32([[2]])])[0].tolist() == [[1]]


def test_a_file_of_a_newer_keras_is_rejected_for_that(save: Callable[..., Path]):
    path = save(sequential(keras.layers.Dense(1)))
    edit(path, lambda config: config["config"]["layers"][-1]["config"].update(of_tomorrow=2))
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            newer = json.dumps({"keras_version": "3.99.0"}) if name == "metadata.json" else content
            archive.writestr(name, newer)

    line, _ = message_of(path)
    assert "of_tomorrow" in line
    assert (
        f"the file is of Keras 3.99.0, newer than this one: save it with Keras {keras.__version__}"
        in line
    )


def test_an_output_without_rows(save: Callable[..., Path]):
    x = keras.Input((1,), name="x")
    assert "has no axis for the rows" in message_of(save(keras.Model(x, keras.ops.sum(x))))[0]


def test_a_type_that_is_neither_number_nor_string(save: Callable[..., Path]):
    x = keras.Input((1,), name="wave", dtype="complex64")
    line, _ = message_of(save(keras.Model(x, keras.layers.Reshape((1, 1), dtype="complex64")(x))))
    assert line.startswith(
        "wave is of type complex64, and only real numbers, bool and strings are served"
    )


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_subclassed_model(save: Callable[..., Path]):
    """Its file says what its class is called, not what it does."""

    class Network(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    line, _ = message_of(save(Network()))
    assert line.startswith("needs Network of tests; install tests and set model.imports: [tests]")


def test_a_ragged_output(save: Callable[..., Path]):
    """Its rows are of lengths of their own, so no array can hold them."""
    x = keras.Input((1,), name="x", dtype="string")
    words = keras.layers.TextVectorization(vocabulary=["a"], ragged=True)(x)
    line, _ = message_of(save(keras.Model(x, words)))
    assert line == "has a ragged output; end the model with dense ones"


# What it knows of ids


def ranges(model: TensorFlowEngine) -> dict[str, tuple[int | None, int | None]]:
    return {spec.name: (spec.minimum, spec.maximum) for spec in model.signature.inputs}


def test_the_ids_of_an_embedding_are_known(load: Callable[..., TensorFlowEngine]):
    user, item, *outputs = two_inputs()
    assert ranges(load(keras.Model([user, item], outputs))) == {
        "user": (0, 3),
        "item": (None, None),
    }


def test_the_smallest_of_several_tables_counts(load: Callable[..., TensorFlowEngine]):
    x, other = (keras.Input((2,), name=name, dtype="int32") for name in ("x", "other"))
    shared = keras.layers.Embedding(9, 2)
    outputs = {"a": keras.layers.Embedding(5, 2)(x), "b": shared(x), "c": shared(other)}
    assert ranges(load(keras.Model([x, other], outputs))) == {"x": (0, 4), "other": (0, 8)}


def test_ids_of_nested_models_are_known(load: Callable[..., TensorFlowEngine]):
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Embedding(7, 2)])
    x = keras.Input((3,), name="x")
    assert ranges(load(keras.Model(x, inner(x)))) == {"x": (0, 6)}


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_sequential_model_can_start_with_ids(load: Callable[..., TensorFlowEngine], ending: str):
    model = load(sequential(keras.layers.Embedding(7, 2), shape=(None,)), ending)
    assert ranges(model) == {"x": (0, 6)}


def test_ids_that_a_layer_changes_are_not_known(load: Callable[..., TensorFlowEngine]):
    x = keras.Input((3,), name="x", dtype="int32")
    assert ranges(load(keras.Model(x, keras.layers.Embedding(7, 2)(x + 1)))) == {"x": (None, None)}


# Strings


def test_strings_in_lookup_layers_are_detected(load: Callable[..., TensorFlowEngine]):
    """Keras itself takes them for int64."""
    vocabulary = ["yes", "no"]
    x = keras.Input((1,), name="x", dtype="int64")
    y = keras.layers.StringLookup(vocabulary=vocabulary, invert=True, name="y")(x)
    model = load(keras.Model(x, y))

    assert str(model.signature.outputs[0]) == "y: string[1]"
    (answer,) = model.predict([Tensors({"x": np.array([[1], [2]])})])
    assert answer.arrays["y"].tolist() == [[b"yes"], [b"no"]]


def test_dependent_rows_of_strings_are_detected(load: Callable[..., TensorFlowEngine]):
    x = keras.Input((), name="x", dtype="int64")
    total = keras.ops.cumsum(x + 1, axis=0)
    y = keras.layers.StringLookup(vocabulary=list("abcdefgh"), invert=True)(total)
    assert Neighbours(trials(load(keras.Model(x, y)))).alone_and_together() > 0.1


# Warm-up


def test_warming_up_calls_for_1_2_4_and_the_largest(
    load: Callable[..., TensorFlowEngine], monkeypatch: pytest.MonkeyPatch
):
    model = load(sequential(keras.layers.Dense(1)))
    sizes: list[int] = []
    call = model.call
    monkeypatch.setattr(model, "call", lambda arrays: sizes.append(len(arrays[0])) or call(arrays))

    for max_rows in (1, 4, 6):
        trials(model).warm_up(max_rows)
    assert sizes == [1, 1, 2, 4, 1, 2, 4, 6]


def test_warming_up_finds_a_size_that_variable_dimensions_may_have(
    load: Callable[..., TensorFlowEngine],
):
    """A convolution over 5 needs 5 at least."""
    model = load(sequential(keras.layers.Conv1D(1, 5), shape=(None, 1)))
    tried = trials(model)
    tried.warm_up(2)
    assert Neighbours(tried).alone_and_together() < 1e-5


def test_a_model_that_cannot_be_batched_is_rejected_at_warm_up(
    load: Callable[..., TensorFlowEngine],
):
    x = keras.Input((1,), name="x")
    tried = trials(load(keras.Model(x, keras.ops.mean(x, axis=0, keepdims=True))))

    tried.warm_up(1)
    with pytest.raises(ModelError, match="on a batch of 2, all zeros: 1 rows came out") as refused:
        tried.warm_up(4)
    assert isinstance(refused.value.__cause__, RowCountMismatch)


def test_a_stateful_network_is_called_with_all_its_rows_and_a_fresh_state(
    load: Callable[..., TensorFlowEngine],
):
    x = keras.Input(batch_shape=(4, 3, 1), name="x")
    network = keras.Model(x, keras.layers.LSTM(2, stateful=True, name="y")(x))
    given = np.arange(12, dtype="float32").reshape(4, 3, 1)
    expected = network(given).numpy()
    model = load(network)

    for rows in (4, 1, 3):
        [answer] = model.call([given[:rows]])
        np.testing.assert_allclose(answer, expected[:rows], atol=1e-6)
    with pytest.raises(ValueError, match="5 rows where the network takes 4"):
        model.call([np.zeros((5, 3, 1), np.float32)])


def test_a_trial_is_a_call_with_the_given_rows(
    load: Callable[..., TensorFlowEngine], monkeypatch: pytest.MonkeyPatch
):
    """It has been made once when it is returned."""
    model = load(keras.Model((inputs := two_inputs())[:2], inputs[2:]))
    tried = trials(model)
    tried.warm_up(1)
    batches: list[Tensors] = []
    call_model = model.call
    names = [spec.name for spec in model.signature.inputs]

    def recorded(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        batches.append(Tensors(dict(zip(names, arrays, strict=True))))
        return call_model(arrays)

    monkeypatch.setattr(model, "call", recorded)

    call = tried.trial(5)
    assert [len(batch) for batch in batches] == [5]
    nbytes = call()
    assert [len(batch) for batch in batches] == [5, 5]
    assert [batch.nbytes for batch in batches] == [5 * tried.row_nbytes] * 2
    assert tried.row_nbytes >= 2 * 4 + 4
    assert nbytes == sum(array.nbytes for array in call_model(list(batches[0].arrays.values())))


def test_a_trial_that_fails_says_with_how_many_rows(load: Callable[..., TensorFlowEngine]):
    x = keras.Input((1,), name="x")
    model = load(keras.Model(x, keras.ops.mean(x, axis=0, keepdims=True)))

    with pytest.raises(ModelError, match="on a batch of 3, all zeros: 1 rows came out"):
        trials(model).trial(3)


# Whether rows depend on each other


def test_rows_of_the_example_do_not_depend_on_each_other(example: TensorFlowEngine):
    assert Neighbours(trials(example)).alone_and_together() < 1e-5


def test_a_softmax_over_the_batch_is_detected(load: Callable[..., TensorFlowEngine]):
    model = load(sequential(keras.layers.Softmax(axis=0)))
    assert Neighbours(trials(model)).alone_and_together() > 0.1


def test_a_count_over_the_batch_is_detected_in_integers(load: Callable[..., TensorFlowEngine]):
    x = keras.Input((1,), name="x", dtype="int32")
    model = load(keras.Model(x, keras.ops.cumsum(keras.ops.ones_like(x), axis=0)))
    assert Neighbours(trials(model)).alone_and_together() > 0.1


def test_a_model_that_takes_no_random_input_is_compared_on_zeros(
    load: Callable[..., TensorFlowEngine],
):
    """An Embedding with a single id fails for any other."""
    x = keras.Input((1,), name="x", dtype="int32")
    model = load(keras.Model(x, keras.layers.Embedding(1, 2)(x)))
    assert Neighbours(trials(model)).alone_and_together() < 1e-5


def test_values_that_are_no_numbers_are_equal_to_themselves(load: Callable[..., TensorFlowEngine]):
    model = load(sequential(keras.layers.Activation("log_softmax"), keras.layers.Rescaling(np.inf)))
    assert Neighbours(trials(model)).alone_and_together() == 0
