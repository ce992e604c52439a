"""Small networks, converted and computed by each engine; all in one process with TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from model.engines import convert as conversion
from model.engines import libraries
from model.engines.agree import Agreement
from model.engines.choose import Choice
from model.engines.convert import load_converted, not_installed
from model.engines.frozen import CannotConvert, freeze
from model.engines.nan_rows import NanRows
from model.engines.openvino import compiled_model
from model.formats.load import load_model
from model.formats.options import LoadOptions
from model.process import convert
from model.process.prepare import Conversion, LoadRequest
from model.process.trials import Trials

pytestmark = [
    pytest.mark.keras,
    # TensorFlow says so of functions that tf2onnx calls.
    pytest.mark.logs_warnings,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

ENGINES = ("frozen", "onnx", "openvino")
MAX_ROWS = 8


def dense(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential([keras.Input((8,)), layers.Dense(8, "relu"), layers.Dense(2)])


def convolution(keras: Any) -> Any:
    layers = keras.layers
    network = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()]
    end = [layers.MaxPooling2D(), layers.GlobalAveragePooling2D(), layers.Dense(2, "softmax")]
    return keras.Sequential([keras.Input((12, 12, 3)), *network, *end])


def recurrent(keras: Any) -> Any:
    """Of sequences of any length."""
    layers = keras.layers
    cells = [layers.LSTM(8, return_sequences=True), layers.LSTM(8), layers.Dense(2)]
    return keras.Sequential([keras.Input((None, 4)), *cells])


def attention(keras: Any) -> Any:
    """With a GELU, which ONNX has no operation for."""
    layers = keras.layers
    ids = keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, 8)(ids)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.Dense(8, activation="gelu")(x)
    return keras.Model(ids, layers.GlobalAveragePooling1D()(x))


def two_of_each(keras: Any) -> Any:
    layers = keras.layers
    b, a = keras.Input((3,), name="b"), keras.Input((2,), name="a", dtype="int32")
    joined = layers.Concatenate()([b, layers.Rescaling(0.5)(a)])
    return keras.Model([b, a], {"z": layers.Dense(1)(joined), "y": layers.Dense(2)(b)})


def three_rows(keras: Any) -> Any:
    """Of a fixed number of rows."""
    inputs = keras.Input((4,), batch_size=3)
    x = keras.layers.Dense(4)(inputs)
    return keras.Model(inputs, keras.ops.reshape(x, (3, 2, 2)))


NETWORKS = [
    *(dense, convolution, recurrent, two_of_each, three_rows),
    pytest.param(attention, marks=pytest.mark.torture, id="attention"),
]

Save = Callable[[Callable[[Any], Any]], LoadRequest]


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Save:
    """Save a network with random weights; return the request to try engines with it."""
    import keras

    monkeypatch.setattr("model.formats.load.set_threads", lambda _: None)  # too late for it

    def save(make: Callable[[Any], Any]) -> LoadRequest:
        keras.utils.set_random_seed(0)
        make(keras).save(tmp_path / "m.keras")
        return LoadRequest(
            str(tmp_path / "m.keras"),
            options=LoadOptions(threads=1),
            max_rows=MAX_ROWS,
            conversion=Conversion(ENGINES, str(tmp_path / "new")),
        )

    return save


def load(request: LoadRequest) -> Any:
    return load_model(request.path, request.options)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_every_engine_agrees(save: Save, network: Any) -> None:
    request = save(network)
    engine = load(request)
    trials = Trials(engine, "m.keras")
    tried = convert.Tried({"tensorflow": trials})
    installed = [name for name in ENGINES if not not_installed(name)]

    why = {name: convert.why_not(name, tried, request) for name in installed}

    assert why == dict.fromkeys(installed, "")
    for found in tried.trials.values():
        assert str(found.engine.signature) == str(engine.signature)
        assert Agreement(trials, found, max_rows=MAX_ROWS).disagreement() == ""


@pytest.mark.parametrize(
    "network",
    [
        *(dense, two_of_each, three_rows),
        pytest.param(recurrent, marks=pytest.mark.torture),
        pytest.param(attention, marks=pytest.mark.torture),
    ],
)
def test_a_converted_file_is_served_with_the_signature_of_the_model(
    save: Save, network: Any
) -> None:
    request = save(network)
    engine = load(request)
    tried = convert.Tried({"tensorflow": Trials(engine, "m.keras")})
    convert.make("onnx", tried, request)
    served = load_model(convert.folder_of(request, "onnx") / "model.onnx")

    assert (served.signature, served.fixed_rows) == (engine.signature, engine.fixed_rows)
    assert [s.samples for s in served.signature.inputs] == [
        s.samples for s in engine.signature.inputs
    ]
    kept = {spec.name for spec in (*engine.signature.inputs, *engine.signature.outputs)}
    made = onnx.load(convert.folder_of(request, "onnx") / "model.onnx", load_external_data=False)
    assert {each.name for each in (*made.graph.input, *made.graph.output)} == kept


def test_what_was_chosen_serves_from_its_folder(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = save(dense)
    monkeypatch.setattr(convert, "time_in_turn", as_if_fastest("onnx"))
    choice = convert.try_engines(load, request)
    assert request.conversion
    folder = Path(request.conversion.folder)

    assert choice.engine == "onnx"
    assert sorted(path.name for path in folder.iterdir()) == ["choice.json", "onnx"]
    assert convert.read(folder) == choice
    rows = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    [expected], [found] = (
        each.call([rows]) for each in (load(request), load_converted(folder / "onnx", 1))
    )
    assert found == pytest.approx(expected, abs=1e-6)


def as_if_fastest(engine: str) -> Callable[[Any], dict[str, float]]:
    return lambda calls: {name: 0.1 if name == engine else 1.0 for name in calls}


def wrong(change: str) -> Callable[[Any, Path], conversion.Names]:
    """A converter that gets one weight wrong."""

    def write(function: Any, folder: Path) -> conversion.Names:
        import onnx
        from onnx import numpy_helper

        names = conversion._write_onnx(function, folder)
        made = onnx.load(folder / "model.onnx")
        for constant in made.graph.initializer:
            values = np.array(numpy_helper.to_array(constant))
            if values.dtype == np.float32 and values.ndim == 2 and change == "weight":
                values[0, 0] += 0.01
                constant.CopyFrom(numpy_helper.from_array(values, constant.name))
        if change == "dropped":
            for node in made.graph.node:
                if node.op_type == "Relu":
                    node.op_type = "Identity"
        onnx.save(made, folder / "model.onnx")
        return names

    return write


@pytest.mark.parametrize("change", ["weight", "dropped"])
def test_a_conversion_that_is_wrong_is_not_taken(
    save: Save, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = save(dense)
    monkeypatch.setitem(conversion.WRITERS, "onnx", wrong(change))
    monkeypatch.setattr(convert, "time_in_turn", as_if_fastest("onnx"))
    choice = convert.try_engines(load, request)

    assert choice.engine == "tensorflow"
    assert choice.reasons["onnx"].startswith("it answers otherwise than TensorFlow")
    assert "onnx" not in choice.timings


def test_a_converter_that_fails_leaves_tensorflow(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(function: Any, folder: Path) -> Any:
        raise NotImplementedError("no such operation")

    monkeypatch.setitem(conversion.WRITERS, "onnx", fails)
    monkeypatch.setitem(conversion.WRITERS, "openvino", fails)
    choice = convert.try_engines(load, save(dense))

    assert choice.reasons["onnx"] == (
        "it cannot be converted: NotImplementedError: no such operation"
    )


def test_a_library_that_is_missing_is_not_offered(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    choice = convert.try_engines(load, save(dense))

    assert choice.reasons["openvino"] == "openvino is not installed: run `make engines`"
    assert choice.engine in ("tensorflow", "frozen")


def words(keras: Any) -> Any:
    layers = keras.layers
    text = keras.Input((1,), dtype="string")
    ids = layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=2)(text)
    return keras.Model(text, layers.Flatten()(layers.Embedding(5, 2)(ids)))


def mixed(keras: Any) -> Any:
    layer = keras.layers.Dense(2, dtype="mixed_float16")
    return keras.Sequential([keras.Input((4,)), layer])


def test_strings_stay_on_tensorflow(save: Save) -> None:
    choice = convert.try_engines(load, save(words))

    strings = "strings stay on TensorFlow"
    assert choice.reasons["onnx"] == strings
    assert choice.reasons["openvino"] == (not_installed("openvino") or strings)
    assert "frozen" in choice.timings  # its table of words is no constant


def spectrum(keras: Any) -> Any:
    sound = keras.Input((16,))
    real, _ = keras.ops.rfft(sound)
    return keras.Model(sound, real)


def test_an_operation_that_onnx_does_not_have_is_named(save: Save) -> None:
    choice = convert.try_engines(load, save(spectrum))

    assert choice.reasons["onnx"] == "ONNX has no operation for its RFFT, Real"


def test_sixteen_bits_stay_on_tensorflow(save: Save) -> None:
    choice = convert.try_engines(load, save(mixed))

    assert choice == Choice(reasons=dict.fromkeys(ENGINES, "the model computes with 16 bits"))


def test_what_was_converted_and_cannot_be_loaded_is_computed_by_tensorflow(
    save: Save, tmp_path: Path
) -> None:
    from dataclasses import replace

    (tmp_path / "engine.json").write_text(json.dumps({}))
    request = replace(save(dense), engine="onnx", converted=str(tmp_path))

    assert convert.load_engine(load, request).name == "tensorflow"
    assert convert.load_engine(load, replace(request, engine="frozen", converted="")).name == (
        "frozen"
    )


def test_libraries_send_nothing_to_their_makers(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    libraries.onnxruntime()
    import os

    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    if not not_installed("openvino"):
        assert "stub" in libraries.openvino().tools.ovc.telemetry_utils.tm.__name__


def test_large_weights_are_not_frozen(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "MAX_WEIGHT_BYTES", 8)
    request = save(dense)
    tried = convert.Tried({"tensorflow": Trials(load(request), "m.keras")})
    with pytest.raises(CannotConvert, match="its weights take"):
        convert.make("frozen", tried, request)


def test_variables_become_constants_once(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(convert, "freeze", lambda engine: made.append(freeze(engine)) or made[-1])
    choice = convert.try_engines(load, save(dense))

    assert len(made) == 1
    assert {"frozen", "onnx"} <= choice.timings.keys()


def test_an_engine_that_loses_nan_answers_nan_once_it_is_loaded_again(save: Save) -> None:
    """ONNX Runtime loses it in an LSTM."""
    request = save(recurrent)
    tried = convert.Tried({"tensorflow": Trials(load(request), "m.keras")})
    assert convert.why_not("onnx", tried, request) == ""
    made = tried.trials["onnx"].engine
    again = load_converted(convert.folder_of(request, "onnx"), 1)
    rows = np.ones((2, 5, 4), np.float32)
    rows[1, 0, 0] = np.nan

    assert isinstance(made, NanRows)
    for each in (made, again):
        assert np.isnan(each.call([rows])[0]).all(axis=1).tolist() == [False, True]


def test_openvino_leaves_the_choice_of_cores_to_the_system(save: Save) -> None:
    """It pins threads to cores by default, so that two processes would compute on the same one."""
    if why := not_installed("openvino"):
        pytest.skip(why)
    request = save(dense)
    tried = convert.Tried({"tensorflow": Trials(load(request), "m.keras")})
    convert.make("openvino", tried, request)
    folder = convert.folder_of(request, "openvino")

    compiled = compiled_model(folder / conversion.OPENVINO_FILE, 1)
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
