"""Networks that Keras calls layer by layer, because tracing them is wrong or fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.engines.tensorflow import TensorFlowEngine
from model.formats.files import ModelError
from model.formats.network import engine_of
from model.formats.options import LoadOptions
from model.process.prepare import LoadRequest, Report, prepare
from tests.support.late import Late

pytestmark = [pytest.mark.keras, pytest.mark.logs_warnings]

keras: Any = Late("keras")
OPTIONS = LoadOptions()


def layer(call: Any) -> Any:
    """A layer of Keras that computes what a function returns."""

    class Layer(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return call(x)

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], *[None] * (len(shape) - 1))

    return Layer()


def sum_of_known_length(x: Any) -> Any:
    """The sum over an axis, of which one element is used when its size is not known."""
    return keras.ops.sum(x[:, : x.shape[1] or 1], axis=1, keepdims=True)


def sum_in_python(x: Any) -> Any:
    """A loop that cannot be traced."""
    return keras.ops.stack([keras.ops.sum(row) for row in list(x)])[:, None]


def model_of(call: Any, shape: tuple[int | None, ...] = (None,)) -> Any:
    x = keras.Input(shape, name="x")
    return keras.Model(x, layer(call)(x))


def prepared(model: Any, options: LoadOptions = OPTIONS) -> tuple[Any, Report]:
    request = LoadRequest("m.keras", max_rows=4, options=options)
    return prepare(lambda _: engine_of(model, "m.keras", options), request)


def test_a_layer_that_looks_at_sizes_while_it_is_traced_answers_rightly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine, report = prepared(model_of(sum_of_known_length))

    assert report.is_eager
    for size in (1, 5, 19):
        [answer] = engine.call([np.ones((3, size), "float32")])
        assert answer.tolist() == [[size]] * 3
    assert "answers otherwise than its layers one by one" in caplog.text


def test_a_layer_that_cannot_be_traced_is_called_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine, _ = prepared(model_of(sum_in_python))

    [answer] = engine.call([np.ones((2, 7), "float32")])
    assert answer.tolist() == [[7], [7]]
    assert "Keras calls it layer by layer instead" in caplog.text


def test_a_layer_that_fails_both_ways_is_refused() -> None:
    def fail(x: Any) -> Any:
        if x.shape[0] is not None or hasattr(x, "graph"):
            raise ValueError("in no way")
        return x

    with pytest.raises(ModelError, match="in no way"):
        prepared(model_of(fail, (2,)))


def test_a_restart_is_told_how_the_network_is_called() -> None:
    options = LoadOptions(eager=True)

    engine = engine_of(model_of(sum_of_known_length), "m.keras", options)
    assert engine.call([np.ones((1, 4), "float32")])[0].tolist() == [[4]]


def test_sound_networks_are_called_traced() -> None:
    x = keras.Input((None, 3))
    model = keras.Model(x, keras.layers.LSTM(2)(x))

    engine, report = prepared(model)
    assert not report.is_eager
    rows = np.ones((2, 5, 3), "float32")
    assert engine.eager is not None
    np.testing.assert_allclose(engine.call([rows])[0], engine.eager.call([rows])[0], atol=1e-6)


@pytest.mark.parametrize(
    "name, shape, options",
    [
        ("Conv1D", (2, 4), {"filters": 2, "kernel_size": 3}),
        ("Conv2D", (5, 2, 4), {"filters": 2, "kernel_size": 3}),
        ("DepthwiseConv2D", (2, 2, 4), {"kernel_size": 3}),
        ("MaxPooling2D", (2, 2, 4), {"pool_size": 3}),
        ("AveragePooling1D", (2, 4), {"pool_size": 3}),
    ],
)
def test_input_smaller_than_a_window_is_rejected_before_tensorflow_gets_it(
    name: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    """It would answer with what is in memory, or end the process."""
    x = keras.Input((*[None] * (len(shape) - 1), 4))
    model = keras.Model(x, getattr(keras.layers, name)(**options)(x))

    engine = engine_of(model, "m.keras", LoadOptions(eager=True))
    for _ in range(2):
        with pytest.raises(ValueError, match="negative"):
            engine.call([np.ones((1, *shape), "float32")])
    assert engine.call([np.ones((1, *[3 * size for size in shape[:-1]], 4), "float32")])


# How clear decisions are


def margins(call: Any, rows: list[list[float]], tmp_path: Path) -> list[float]:
    x = keras.Input((len(rows[0]),), name="x")
    engine = engine_of(keras.Model(x, call(x)), tmp_path / "m.keras", OPTIONS)
    assert isinstance(engine, TensorFlowEngine)
    assert engine.eager is not None
    found = engine.eager.margins([np.array(rows, "float32")])
    return [round(float(each), 4) for each in found]


def test_margins_of_comparisons(tmp_path: Path) -> None:
    rows = [[1.0, 4.0, 2.0], [4.0, 4.0, 3.0], [-1.0, 0.0, 3.0]]

    assert margins(lambda x: keras.ops.argmax(x, -1), rows, tmp_path) == [0.5, 0, 0.75]
    assert margins(lambda x: keras.ops.argmin(x, -1), rows, tmp_path) == [0.25, 0.25, 0.25]
    assert margins(lambda x: keras.ops.top_k(x, 2)[1], rows, tmp_path) == [0.25, 0, 0.25]
    assert margins(lambda x: x > 2.0, rows, tmp_path) == [0, 0.25, 0.25]
    assert margins(lambda x: x + 1, rows, tmp_path) == [np.inf] * 3


def test_margins_of_rounding(tmp_path: Path) -> None:
    rows = [[1.5, 4.0], [1.25, 4.0]]

    assert margins(keras.ops.round, rows, tmp_path) == [0, 0.0625]
    assert margins(keras.ops.floor, rows, tmp_path) == [0.125, 0.0625]
    assert margins(lambda x: keras.ops.cast(x, "int32"), rows, tmp_path) == [0.125, 0.0625]
    assert margins(lambda x: keras.ops.cast(x, "float16"), rows, tmp_path) == [np.inf] * 2


def test_margins_of_all_places_are_infinite_where_nothing_is_left_out(tmp_path: Path) -> None:
    rows = [[1.0, 4.0]]

    assert margins(lambda x: keras.ops.top_k(x, 2)[1], rows, tmp_path) == [0.75]
    assert margins(lambda x: keras.ops.argmax(x[:, :1], -1), rows, tmp_path) == [np.inf]
