"""Models that take texts, sequences and images of any size, and rows for them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

WORDS = ("good", "bad", "film", "a", "the", "never", "unknown")

Row = Any
"""What `data` of a request is for one example."""


class AnyLength(NamedTuple):
    """A kind of model.

    Attributes:
        make: builds the model, with Keras.
        row: makes the row of a number, of any length.
        answers: how many are asked for.
        tolerance: how much an answer may differ from that to the row alone, of its scale.
        is_padded: whether rows of different lengths share a batch.
    """

    make: Callable[[Any], Any]
    row: Callable[[np.random.Generator], Row]
    answers: int
    tolerance: float = 1e-5
    is_padded: bool = False


def text(random: np.random.Generator) -> Row:
    return " ".join(random.choice(WORDS, random.integers(1, 40)).tolist())


def ids(random: np.random.Generator) -> Row:
    """Zeros at the end, which are masked."""
    kept = random.integers(1, 10, random.integers(1, 30)).tolist()
    return kept + [0] * int(random.integers(0, 5))


def numbers(*shape: int) -> Callable[[np.random.Generator], Row]:
    """Sequences of any length, of elements of this shape."""

    def row(random: np.random.Generator) -> Row:
        length = int(random.integers(1, 12))
        return random.standard_normal((length, *shape)).round(3).tolist()

    return row


def long_sequence(random: np.random.Generator) -> Row:
    return random.standard_normal((int(random.integers(1, 201)), 4)).round(3).tolist()


def image(*shape: int) -> Callable[[np.random.Generator], Row]:
    return lambda random: random.standard_normal(shape).round(2).tolist()


def _classifier(keras: Any, length: int | None) -> Any:
    layers = keras.layers
    words = layers.TextVectorization(
        vocabulary=list(WORDS[:-1]), output_sequence_length=length, standardize="lower"
    )
    return keras.Sequential(
        [
            keras.Input((), dtype="string"),
            words,
            layers.Embedding(len(WORDS) + 2, 8),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def padded_text(keras: Any) -> Any:
    """Texts are padded to the longest of their batch, and the mean counts the padding."""
    return _classifier(keras, None)


def cut_text(keras: Any) -> Any:
    return _classifier(keras, 20)


def masked_lstm(keras: Any) -> Any:
    layers = keras.layers
    embedding = layers.Embedding(10, 8, mask_zero=True)
    return keras.Sequential(
        [keras.Input((None,), dtype="int32"), embedding, layers.LSTM(8), layers.Dense(2)]
    )


def two_lstms(keras: Any) -> Any:
    layers = keras.layers
    lstms = [layers.LSTM(16, return_sequences=True), layers.LSTM(16), layers.Dense(4)]
    return keras.Sequential([keras.Input((None, 4)), layers.Masking(-1.0), *lstms])


def masked_classifier(keras: Any, *, mask: bool = True) -> Any:
    layers = keras.layers
    embedding = layers.Embedding(10, 8, mask_zero=mask)
    rest = [layers.GlobalAveragePooling1D(), layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((None,), dtype="int32"), embedding, *rest])


def tagger(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(10, 8, mask_zero=True),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(3, activation="softmax")),
        ]
    )


def video(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None, 8, 8, 1)),
            layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu")),
            layers.TimeDistributed(layers.GlobalAveragePooling2D()),
            layers.LSTM(4),
            layers.Dense(2),
        ]
    )


def mixed_precision(keras: Any) -> Any:
    layers, policy = keras.layers, "mixed_bfloat16"
    return keras.Sequential(
        [
            keras.Input((None, 4)),
            layers.Conv1D(8, 3, padding="same", activation="relu", dtype=policy),
            layers.GlobalMaxPooling1D(dtype=policy),
            layers.Dense(3, dtype="float32"),
        ]
    )


def resnet(keras: Any) -> Any:
    return keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=5)


ANY_LENGTH = {
    "padded_text": AnyLength(padded_text, text, 18_000),
    "cut_text": AnyLength(cut_text, text, 18_000),
    "masked_lstm": AnyLength(masked_lstm, ids, 18_000, is_padded=True),
    "two_lstms": AnyLength(two_lstms, long_sequence, 18_000, is_padded=True),
    "masked_classifier": AnyLength(masked_classifier, ids, 18_000, is_padded=True),
    "classifier": AnyLength(lambda keras: masked_classifier(keras, mask=False), ids, 18_000),
    "tagger": AnyLength(tagger, ids, 18_000, is_padded=True),
    "video": AnyLength(video, numbers(8, 8, 1), 12_000),
    "mixed_precision": AnyLength(mixed_precision, numbers(4), 18_000, 2e-2),
    "ResNet50": AnyLength(resnet, image(32, 32, 3), 2_000, 1e-4),
}


# Models whose requests all have new sizes


def convolution(groups: int) -> Callable[[Any], Any]:
    def make(keras: Any) -> Any:
        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input((None, None, 4)),
                layers.Conv2D(8, 3, padding="same", groups=groups, activation="relu"),
                layers.GlobalAveragePooling2D(),
            ]
        )

    return make


def lstm(keras: Any) -> Any:
    return keras.Sequential([keras.Input((None, 2)), keras.layers.LSTM(4)])


Body = tuple[str, bytes]
"""The content type and the body of a request."""


def image_of_size(number: int) -> Body:
    """20,000 different heights and widths."""
    return array(np.ones((1, 1 + number % 40, 1 + number // 40, 4), "float32"))


def sequences_of_size(number: int) -> Body:
    """20,000 different numbers of rows and steps."""
    return array(np.ones((1 + number % 200, 1 + number // 200, 2), "float32"))


def texts_of_size(number: int) -> Body:
    """20,000 different numbers of texts and words."""
    text = " ".join(["good"] * (1 + number // 4))
    return "application/json", json.dumps({"data": [text] * (1 + number % 4)}).encode()


def array(rows: np.ndarray) -> Body:
    file = io.BytesIO()
    np.save(file, rows)
    return "application/x-npy", file.getvalue()


NEW_SIZES: dict[str, tuple[Callable[[Any], Any], Callable[[int], Body]]] = {
    "convolution": (convolution(1), image_of_size),
    "grouped_convolution": (convolution(4), image_of_size),
    "lstm": (lstm, sequences_of_size),
    "text": (padded_text, texts_of_size),
}
