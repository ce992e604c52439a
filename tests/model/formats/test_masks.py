"""Which layers may mix padding into answers, found while a Keras model is traced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.formats.load import load_model
from model.padding import PaddingHint
from tests.support.late import Late

pytestmark = [
    pytest.mark.keras,
    # Keras says that a layer which has no mask for its output destroys it.
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask"),
]

keras: Any = Late("keras")
tf_keras: Any = Late("tf_keras")


def sequence(*layers: Callable[[Any], Any], library: Any = None) -> Any:
    library = library or keras
    made = [make(library.layers) for make in layers]
    return library.Sequential([library.Input((None, 4), name="x"), *made])


def text(*layers: Callable[[Any], Any], mask: bool = True) -> Any:
    embedding = keras.layers.Embedding(9, 4, mask_zero=mask)
    made = [make(keras.layers) for make in layers]
    return keras.Sequential([keras.Input((None,), dtype="int32", name="x"), embedding, *made])


def two_inputs() -> Any:
    layers = keras.layers
    ids, other = keras.Input((None,), dtype="int32", name="x"), keras.Input((2,), name="other")
    steps = layers.Dropout(0.5)(layers.Embedding(9, 4, mask_zero=True)(ids))
    inner = keras.Input((None, 4))
    pooled = keras.Model(inner, layers.GlobalAveragePooling1D()(inner))
    answer = layers.Concatenate()([pooled(steps), layers.Dense(2)(other)])
    return keras.Model([ids, other], answer)


def transformer(blocks: int) -> Any:
    """Keras' attention takes the mask off its input, so that the second block gets none."""
    layers = keras.layers
    ids = keras.Input((None,), dtype="int32", name="x")
    x = layers.Embedding(9, 4, mask_zero=True)(ids)
    for _ in range(blocks):
        x = layers.Add()([x, layers.MultiHeadAttention(1, 4)(x, x)])
    return keras.Model(ids, layers.GlobalAveragePooling1D()(x))


def lstm(layers: Any) -> Any:
    return layers.LSTM(2)


def masking(layers: Any) -> Any:
    return layers.Masking(-1.0)


SAFE: dict[str, Callable[[], Any]] = {
    "masking": lambda: sequence(masking, lambda layers: layers.Dense(3, "relu"), lstm),
    "keras 2": lambda: sequence(masking, lstm, library=tf_keras),
    "embedding": lambda: text(lstm),
    "tagger": lambda: text(
        lambda layers: layers.Bidirectional(layers.GRU(2, return_sequences=True)),
        lambda layers: layers.TimeDistributed(layers.Dense(2)),
        lambda layers: layers.LayerNormalization(),
        lambda layers: layers.Softmax(),
    ),
    "step by step": lambda: text(lambda layers: layers.Dense(3), mask=False),
    "two inputs": two_inputs,
    "a block of attention": lambda: transformer(1),
}


def hint_of(make: Callable[[], Any], folder: Path) -> PaddingHint:
    path = folder / "m.keras"
    make().save(path)
    hint = load_model(path).padding_hint
    assert hint is not None
    return hint


@pytest.mark.parametrize("kind", SAFE)
def test_a_mask_reaches_every_layer_that_mixes_steps(tmp_path: Path, kind: str) -> None:
    hint = hint_of(SAFE[kind], tmp_path)

    assert hint.why_not == ""
    assert dict(hint.values) == ({"x": -1.0} if kind in {"masking", "keras 2"} else {})


NOT_SAFE: dict[str, tuple[Callable[[], Any], str]] = {
    "no mask": (lambda: sequence(lstm), "(LSTM) mixes steps and gets no mask"),
    "mean": (
        lambda: text(lambda layers: layers.GlobalAveragePooling1D(), mask=False),
        "(GlobalAveragePooling1D) mixes steps and gets no mask",
    ),
    "maximum": (
        lambda: text(lambda layers: layers.GlobalMaxPooling1D()),
        "(GlobalMaxPooling1D) may mix steps",
    ),
    "convolution": (
        lambda: text(lambda layers: layers.Conv1D(2, 3, padding="same"), lstm),
        "(Conv1D) may mix steps",
    ),
    "softmax over steps": (
        lambda: text(lambda layers: layers.Softmax(axis=1), lstm),
        "(Softmax) may mix steps",
    ),
    "two blocks of attention": (
        lambda: transformer(2),
        "(MultiHeadAttention) mixes steps and gets no mask",
    ),
}


@pytest.mark.parametrize("kind", NOT_SAFE)
def test_a_layer_that_may_mix_padding_into_answers_is_named(tmp_path: Path, kind: str) -> None:
    make, why = NOT_SAFE[kind]

    assert hint_of(make, tmp_path).why_not.endswith(why)


def test_the_calls_of_layers_are_not_watched_any_more_afterwards(tmp_path: Path) -> None:
    before = keras.layers.Layer.__call__, keras.Operation.__call__
    hint_of(SAFE["embedding"], tmp_path)

    assert (keras.layers.Layer.__call__, keras.Operation.__call__) == before
