"""Models for the tests of third-party clients.

Keras is imported by the functions only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Rows for `all_sorts`.
ROWS = {
    "tokens": np.int64([[3, 1, 4, 1], [5, 9, 2, 6], [5, 3, 5, 8]]),  # of any length
    "flags": np.array([[True, False], [False, False], [True, True]]),
    "image": np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2),
    "half": np.float16([[0.5, -1], [2, 3.5], [0, 100]]),
    "wide": np.float64([[1e-300], [np.pi], [-1e9]]),
    "word": np.array([b"good", "naïve".encode(), b"odd"]),
}


def all_sorts() -> Any:
    """Return a model with inputs and outputs of most types."""
    from keras import Input, Model, layers, ops

    inputs = {
        "tokens": Input((None,), name="tokens", dtype="int64"),
        "flags": Input((2,), name="flags", dtype="bool"),
        "image": Input((2, 2, 2), name="image", dtype="uint8"),
        "half": Input((2,), name="half", dtype="float16"),
        "wide": Input((1,), name="wide", dtype="float64"),
        "word": Input((), name="word", dtype="string"),
    }
    words = ["good", "bad", "naïve"]
    number = layers.StringLookup(vocabulary=words)(inputs["word"])
    sums = [ops.sum(ops.cast(inputs["tokens"], "float32"), axis=1, keepdims=True)]
    parts = [layers.Flatten()(ops.cast(inputs[name], "float32")) for name in ("flags", "image")]
    outputs = {
        "y": layers.Dense(3)(layers.Concatenate()([*sums, *parts])),
        "backwards": ops.flip(inputs["tokens"], axis=1),
        "not": ops.logical_not(inputs["flags"]),
        "same_half": ops.flip(inputs["half"], axis=1),
        "same_wide": inputs["wide"] * 2,
        "known": layers.StringLookup(vocabulary=words, invert=True)(number),
    }
    return Model(inputs, outputs)


def documented() -> dict[str, Any]:
    """Return models for the requests in TensorFlow Serving's documentation, by name."""
    from keras import Input, Model, layers, ops

    def half_plus(number: float) -> Any:
        x = Input((), name="x")
        return Model(x, layers.Rescaling(0.5, number, name="y")(x))

    def numbered(*words: str) -> Any:
        x = Input((), name="text", dtype="string")
        return Model(x, layers.StringLookup(vocabulary=list(words), name="number")(x))

    def tripled() -> Any:
        x = Input((1, 2), name="x")
        return Model(x, layers.Rescaling(3.0, name="y")(x))

    def three_inputs() -> Any:
        tag = Input((), name="tag", dtype="string")
        signal, sensor = (
            Input(shape, name=name, dtype="int64")
            for name, shape in (("signal", (None,)), ("sensor", (None, 2)))
        )
        outputs = {
            "number": layers.StringLookup(vocabulary=["foo", "bar"])(tag),
            "sums": ops.stack([ops.sum(signal, axis=1), ops.sum(sensor, axis=(1, 2))], axis=1),
        }
        return Model({"tag": tag, "signal": signal, "sensor": sensor}, outputs)

    return {
        "saved_model_half_plus_three": half_plus(3.0),
        "half_plus_two": half_plus(2.0),
        "strings": numbered("foo", "bar", "baz", "image bytes", "awesome image bytes"),
        "matrices": tripled(),
        "three_inputs": three_inputs(),
    }
