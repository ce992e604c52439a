"""TextVectorization in every mode, and classifiers of texts."""

from __future__ import annotations

from typing import Any

from tests.model.zoo.kinds import ALL, KERAS, SAVED_MODEL, Built, Make, kind
from tests.model.zoo.rows import text

LINES = ["A good film.", "bad film", "naïve but good, good", "nothing known here", "good bad"]
WORDS = ["good", "bad", "film", "naïve"]

MODES: dict[str, dict[str, Any]] = {
    "int": {"output_sequence_length": 4},
    "int_of_any_length": {},
    "multi_hot": {"output_mode": "multi_hot"},
    "count": {"output_mode": "count", "pad_to_max_tokens": True, "max_tokens": 8},
    "tf_idf": {"output_mode": "tf_idf"},
    "bigrams": {"ngrams": 2, "output_sequence_length": 6},
    "characters": {"split": "character", "output_sequence_length": 6},
}


def rows() -> Any:
    return text(*([line] for line in LINES))


def adapted(mode: str) -> Make:
    """A mode with the vocabulary that the layer has learned."""

    def make(keras: Any) -> Built:
        layers = keras.layers
        vectorize = layers.TextVectorization(**MODES[mode])
        vectorize.adapt(LINES[:3])
        x = keras.Input((1,), name="text", dtype="string")
        y = vectorize(x)
        if MODES[mode].get("output_mode"):
            y = layers.Dense(2)(y)
        else:
            y = layers.GlobalAveragePooling1D()(layers.Embedding(40, 3)(y))
        return Built(keras.Model(x, y), rows())

    make.__name__ = f"text_{mode}"
    return make


for _mode in MODES:
    kind(formats=[KERAS, SAVED_MODEL], twin=[KERAS, SAVED_MODEL])(adapted(_mode))


@kind(twin=ALL)
def text_with_a_given_vocabulary(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((1,), name="text", dtype="string")
    words = layers.TextVectorization(vocabulary=WORDS, output_sequence_length=5)(x)
    y = layers.Conv1D(4, 2, activation="relu")(layers.Embedding(6, 3)(words))
    y = layers.Dense(1, activation="sigmoid")(layers.GlobalMaxPooling1D()(y))
    return Built(keras.Model(x, y), rows())


@kind(twin=[KERAS, SAVED_MODEL])
def text_padded_and_masked(keras: Any) -> Built:
    layers = keras.layers
    vectorize = layers.TextVectorization(vocabulary=WORDS, output_sequence_length=6)
    model = keras.Sequential(
        [
            keras.Input((1,), name="text", dtype="string"),
            vectorize,
            layers.Embedding(6, 3, mask_zero=True),
            layers.Bidirectional(layers.LSTM(3)),
            layers.Dense(2, activation="softmax"),
        ]
    )
    return Built(model, rows())


@kind(twin=[KERAS, SAVED_MODEL])
def text_without_an_axis(keras: Any) -> Built:
    """A string an example, not a list of one."""
    layers = keras.layers
    x = keras.Input((), name="text", dtype="string")
    y = layers.TextVectorization(vocabulary=WORDS, output_mode="multi_hot")(x)
    return Built(keras.Model(x, layers.Dense(2)(y)), text(*LINES))


@kind(twin=[KERAS, SAVED_MODEL])
def ragged_text_made_dense(keras: Any) -> Built:
    """Ragged words inside, padded where they are used."""
    layers = keras.layers
    x = keras.Input((1,), name="text", dtype="string")
    words = layers.TextVectorization(vocabulary=WORDS, output_mode="int")(x)
    y = layers.LSTM(3)(layers.Embedding(6, 3)(words))
    return Built(keras.Model(x, y), rows())
