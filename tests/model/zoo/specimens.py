"""Small models with every kind of input and output, each with rows: `ZOO["words"]()`.

They are sent through every dialect, so names and types are theirs; `kinds.py` has the layers.

Weights and rows are the same at every call. Keras is imported by the functions only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.model.zoo.kinds import as_constants
from tests.model.zoo.rows import ROWS, floats, integers, text

Arrays = dict[str, np.ndarray]


class Specimen(NamedTuple):
    """A model, five rows for it by the names of its inputs, and those names of its outputs."""

    model: Any
    rows: Arrays
    outputs: tuple[str, ...]

    def expected(self) -> Arrays:
        """What `model.predict` itself answers to the rows, by the names of the outputs."""
        given = list(self.rows.values())
        structure = self.model.input if hasattr(self.model, "output_names") else given[0]
        if isinstance(structure, dict):
            x: Any = self.rows
        else:
            x = given if isinstance(structure, list | tuple) else given[0]
        if any(array.dtype == object for array in given):
            x = as_constants(x)  # Keras takes no numpy array of strings
        answer = self.model.predict(x, batch_size=ROWS, verbose=0)
        if isinstance(answer, dict):
            return {name: answer[name] for name in self.outputs}
        answers = answer if isinstance(answer, list | tuple) else [answer]
        return dict(zip(self.outputs, answers, strict=True))


ZOO: dict[str, Callable[[], Specimen]] = {}


def specimen(make: Callable[[], Specimen]) -> Callable[[], Specimen]:
    """Put a function into the zoo, under its name, and have it make the same weights each time."""

    def seeded() -> Specimen:
        import keras

        keras.utils.set_random_seed(0)
        return make()

    ZOO[make.__name__] = seeded
    return seeded


# Inputs and outputs


@specimen
def single_tensors() -> Specimen:
    from keras import Input, Model, layers

    x = Input((3,), name="x")
    return Specimen(Model(x, layers.Dense(2, name="y")(x)), {"x": floats(3)}, ("y",))


@specimen
def lists() -> Specimen:
    from keras import Input, Model, layers

    a, b = Input((2,), name="a"), Input((3,), name="b")
    both = layers.Concatenate()([a, b])
    outputs = [layers.Dense(1, name="one")(both), layers.Dense(4, name="four")(both)]
    return Specimen(Model([a, b], outputs), {"a": floats(2), "b": floats(3)}, ("one", "four"))


@specimen
def dicts() -> Specimen:
    """Keys in no alphabetical order, and each its tensor's name: Keras warns of others."""
    from keras import Input, Model, layers

    user, item = Input((1,), name="user"), Input((2, 2), name="item")
    both = layers.Concatenate()([user, layers.Flatten()(item)])
    outputs = {"score": layers.Dense(1)(both), "profile": layers.Dense(3)(both)}
    rows = {"user": floats(1), "item": floats(2, 2)}
    return Specimen(Model({"user": user, "item": item}, outputs), rows, ("score", "profile"))


@specimen
def nested_models() -> Specimen:
    from keras import Input, Model, Sequential, layers

    inner = Sequential([Input((3,)), layers.Dense(4, activation="relu"), layers.Dense(2)])
    x = Input((3,), name="x")
    return Specimen(Model(x, layers.Dense(1, name="y")(inner(x))), {"x": floats(3)}, ("y",))


@specimen
def shapeless_rows() -> Specimen:
    """One number an example, in and out, without an axis of its own."""
    from keras import Input, Model, layers

    x, n = Input((), name="x"), Input((), name="n", dtype="int32")
    outputs = {"double": layers.Rescaling(2.0)(x), "next": n + 1}
    rows = {"x": floats(), "n": integers()}
    return Specimen(Model({"x": x, "n": n}, outputs), rows, ("double", "next"))


@specimen
def built_by_its_first_call() -> Specimen:
    from keras import Sequential, layers

    model = Sequential([layers.Dense(3, activation="tanh"), layers.Dense(2, name="y")])
    model(np.zeros((2, 4), "float32"))
    return Specimen(model, {model.inputs[0].name: floats(4)}, ("y",))


@specimen
def ids_built_by_their_first_call() -> Specimen:
    """Keras does not keep that they were integers."""
    from keras import Sequential, layers

    model = Sequential([layers.Embedding(10, 2), layers.Flatten(), layers.Dense(2, name="y")])
    model(np.zeros((2, 3), "int32"))
    return Specimen(model, {model.inputs[0].name: integers(3, dtype="float32")}, ("y",))


# Types


def of_type(dtype: str, rows: np.ndarray) -> Callable[[], Specimen]:
    """A model with an input of a type, and outputs of that type and of float32."""

    def make() -> Specimen:
        from keras import Input, Model, layers, ops

        x = Input((4,), name="x", dtype=dtype)
        outputs = {"same": ops.flip(x, axis=-1), "y": layers.Dense(2)(ops.cast(x, "float32"))}
        return Specimen(Model({"x": x}, outputs), {"x": rows}, ("same", "y"))

    make.__name__ = dtype
    return specimen(make)


for _bits in (16, 32, 64):
    of_type(f"float{_bits}", floats(4, dtype=f"float{_bits}"))
for _bits in (8, 16, 32, 64):
    of_type(f"int{_bits}", integers(4, high=100, dtype=f"int{_bits}") - 50)
    of_type(f"uint{_bits}", integers(4, high=200, dtype=f"uint{_bits}"))
of_type("bool", integers(4, high=2, dtype="bool"))


@specimen
def bfloat16() -> Specimen:
    """What comes out is float32 to those who ask, for numpy has no bfloat16."""
    from keras import Input, Model, layers

    x = Input((4,), name="x", dtype="bfloat16")
    y = layers.Dense(2, name="y", dtype="bfloat16")(x)
    return Specimen(Model(x, y), {"x": floats(4)}, ("y",))


def mixed(policy: str) -> Callable[[], Specimen]:
    """A model that computes in half precision and keeps float32 weights."""

    def make() -> Specimen:
        from keras import Input, Model, layers

        x = Input((4,), name="x")
        hidden = layers.Dense(8, activation="relu", dtype=policy)(x)
        y = layers.Dense(2, name="y", dtype=policy)(hidden)
        return Specimen(Model(x, y), {"x": floats(4)}, ("y",))

    make.__name__ = policy
    return specimen(make)


mixed("mixed_float16")
mixed("mixed_bfloat16")


@specimen
def uint8_image() -> Specimen:
    from keras import Input, Model, layers

    x = Input((6, 6, 3), name="image", dtype="uint8")
    hidden = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(x))
    y = layers.Dense(3, activation="softmax", name="y")(layers.GlobalMaxPooling2D()(hidden))
    return Specimen(Model(x, y), {"image": integers(6, 6, 3, high=256, dtype="uint8")}, ("y",))


# Strings

VOCABULARY = ["good", "bad", "film", "naïve"]


@specimen
def sentences() -> Specimen:
    from keras import Input, Model, layers

    x = Input((1,), name="text", dtype="string")
    words = layers.TextVectorization(output_sequence_length=4, vocabulary=VOCABULARY)(x)
    hidden = layers.GlobalAveragePooling1D()(layers.Embedding(6, 3)(words))
    rows = text(["A good film."], ["bad"], [""], ["naïve film, naïve"], ["?"])
    return Specimen(Model(x, layers.Dense(1, name="y")(hidden)), {"text": rows}, ("y",))


@specimen
def words() -> Specimen:
    """Strings in and strings out, one an example, beside what Keras itself takes for integers."""
    from keras import Input, Model, layers

    x = Input((), name="word", dtype="string")
    number = layers.StringLookup(vocabulary=VOCABULARY)(x)
    word = layers.StringLookup(vocabulary=VOCABULARY, invert=True)(number)
    rows = text("good", "naïve", "unheard-of", "", "film")
    outputs = {"number": number, "word": word}
    return Specimen(Model({"word": x}, outputs), {"word": rows}, ("number", "word"))


@specimen
def lists_of_words() -> Specimen:
    """As many as one likes, and as many come out."""
    from keras import Input, Model, layers

    x = Input((None,), name="words", dtype="string")
    number = layers.StringLookup(vocabulary=VOCABULARY)(x)
    word = layers.StringLookup(vocabulary=VOCABULARY, invert=True, name="known")(number)
    rows = text(*([first, "film"] for first in ("good", "bad", "", "odd", "naïve")))
    return Specimen(Model(x, word), {"words": rows}, ("known",))


@specimen
def sentences_built_by_their_first_call() -> Specimen:
    import tensorflow as tf
    from keras import Sequential, layers

    vectorize = layers.TextVectorization(output_sequence_length=3, vocabulary=VOCABULARY)
    model = Sequential([vectorize, layers.Embedding(6, 2), layers.Flatten(name="y")])
    model(tf.constant([["good film"]]))
    rows = text(["A good film."], ["bad"], [""], ["naïve"], ["?"])
    return Specimen(model, {model.inputs[0].name: rows}, ("y",))


# Sizes that vary


@specimen
def tokens() -> Specimen:
    from keras import Input, Model, layers

    x = Input((None,), name="ids", dtype="int32")
    hidden = layers.LSTM(3)(layers.Embedding(10, 4, mask_zero=True)(x))
    return Specimen(Model(x, layers.Dense(1, name="y")(hidden)), {"ids": integers(7)}, ("y",))


@specimen
def sequence_to_sequence() -> Specimen:
    from keras import Input, Model, layers

    x = Input((None, 2), name="x")
    y = layers.GRU(3, return_sequences=True, name="y")(x)
    return Specimen(Model(x, y), {"x": floats(4, 2)}, ("y",))


@specimen
def image_of_any_size() -> Specimen:
    from keras import Input, Model, layers

    x = Input((None, None, 1), name="x")
    y = layers.Conv2D(2, 3, padding="same", name="y")(x)
    return Specimen(Model(x, y), {"x": floats(5, 6, 1)}, ("y",))


@specimen
def attention() -> Specimen:
    from keras import Input, Model, layers

    x = Input((None, 4), name="x")
    y = layers.MultiHeadAttention(2, 2, name="y")(x, x)
    return Specimen(
        Model(x, layers.GlobalAveragePooling1D(name="y2")(y)), {"x": floats(6, 4)}, ("y2",)
    )


@specimen
def two_sequences() -> Specimen:
    """Of lengths that have nothing to do with each other, and one table of ids for both."""
    from keras import Input, Model, layers

    seen, offered = (Input((None,), name=name, dtype="int64") for name in ("seen", "offered"))
    table = layers.Embedding(10, 4)
    taste = layers.GlobalAveragePooling1D(keepdims=True)(table(seen))
    y = layers.Dot(2, name="y")([table(offered), taste])
    rows = {"seen": integers(3, dtype="int64"), "offered": integers(5, dtype="int64")}
    return Specimen(Model([seen, offered], y), rows, ("y",))


# Layers that do something else in training


@specimen
def trained_with_noise() -> Specimen:
    """Dropout, noise and BatchNormalization, after a step of training that moved its averages."""
    from keras import Input, Sequential, layers

    model = Sequential(
        [
            Input((3,), name="x"),
            layers.Dense(8, activation="relu"),
            layers.BatchNormalization(),
            layers.GaussianNoise(1.0),
            layers.Dropout(0.5),
            layers.Dense(2, name="y"),
        ]
    )
    model(10 * floats(3), training=True)
    return Specimen(model, {"x": floats(3)}, ("y",))


@specimen
def preprocessing() -> Specimen:
    """A normalization that was adapted, and classes made out of numbers."""
    from keras import Input, Model, layers

    x, age = Input((2,), name="x"), Input((1,), name="age")
    normalize = layers.Normalization()
    normalize.adapt(3 * floats(2) + 5)
    decade = layers.CategoryEncoding(4, output_mode="one_hot")(
        layers.Discretization([-1.0, 0.0, 1.0])(age)
    )
    y = layers.Dense(1, name="y")(layers.Concatenate()([normalize(x), decade]))
    return Specimen(Model([x, age], y), {"x": floats(2), "age": floats(1)}, ("y",))
