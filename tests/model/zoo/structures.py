"""Inputs and outputs in lists, dicts and both, and names of every kind."""

from __future__ import annotations

from typing import Any

from tests.model.zoo.kinds import ALL, H5, KERAS, SAVED_MODEL, Built, kind
from tests.model.zoo.rows import floats, integers


@kind(twin=ALL)
def dicts_in_no_order(keras: Any) -> Built:
    layers = keras.layers
    z, a = keras.Input((2,), name="z"), keras.Input((3,), name="a")
    both = layers.Concatenate()([z, a])
    outputs = {"second": layers.Dense(1)(both), "first": layers.Dense(4)(both)}
    return Built(keras.Model({"z": z, "a": a}, outputs), {"z": floats(2), "a": floats(3)})


@kind(twin=ALL)
def list_in_no_order(keras: Any) -> Built:
    layers = keras.layers
    z, a = keras.Input((2,), name="z"), keras.Input((2,), name="a")
    outputs = [layers.Dense(3, name="y")(z), layers.Dense(3, name="b")(a)]
    return Built(keras.Model([z, a], outputs), [floats(2), 3 * floats(2)])


@kind(formats=[KERAS])
def nested_structures(keras: Any) -> Built:
    layers = keras.layers
    inputs = {
        "user": {"age": keras.Input((1,), name="age"), "clicks": keras.Input((4,), name="clicks")},
        "items": [keras.Input((2,), name="item_0"), keras.Input((2,), name="item_1")],
    }
    parts = [*inputs["user"].values(), *inputs["items"]]
    both = layers.Concatenate()(parts)
    outputs = {
        "score": layers.Dense(1)(both),
        "more": [layers.Dense(2)(both), layers.Dense(3)(both)],
    }
    rows = {
        "user": {"age": floats(1), "clicks": floats(4)},
        "items": [floats(2), 2 * floats(2)],
    }
    return Built(keras.Model(inputs, outputs), rows)


@kind(formats=[KERAS, SAVED_MODEL])
def scalars(keras: Any) -> Built:
    """Inputs and outputs without an axis beside the rows."""
    x, n = keras.Input((), name="x"), keras.Input((), name="n", dtype="int32")
    outputs = {"double": keras.layers.Rescaling(2.0)(x), "next": n + 1}
    return Built(keras.Model({"x": x, "n": n}, outputs), {"x": floats(), "n": integers()})


@kind(twin=ALL)
def types_of_every_kind(keras: Any) -> Built:
    layers = keras.layers
    dtypes = ["float16", "float64", "int8", "uint8", "int16", "int64", "bool"]
    inputs = {name: keras.Input((2,), name=f"of_{name}", dtype=name) for name in dtypes}
    rows = {name: integers(2, high=2).astype(name) for name in dtypes}
    answers = [layers.Rescaling(index + 1.0)(each) for index, each in enumerate(inputs.values())]
    return Built(keras.Model(inputs, layers.Concatenate()(answers)), rows)


@kind(formats=[KERAS, H5])
def odd_names(keras: Any) -> Built:
    """Spaces and umlauts in the names of the model, its layers, inputs and outputs."""
    layers = keras.layers
    x, y = keras.Input((2,), name="Größe in cm"), keras.Input((3,), name="the other one")
    both = layers.Concatenate(name="zusammen geführt")([x, y])
    outputs = [layers.Dense(1, name="Höhe (m)")(both), layers.Dense(2, name="naïve name")(both)]
    return Built(
        keras.Model([x, y], outputs, name="Mein Modell"), [floats(2), floats(3)], eager=True
    )


@kind(formats=[KERAS, H5])
def keys_with_odd_names(keras: Any) -> Built:
    """Keys of dicts, which name inputs and outputs, with spaces, slashes and umlauts."""
    layers = keras.layers
    x, y = keras.Input((2,), name="x"), keras.Input((3,), name="y")
    both = layers.Concatenate()([x, y])
    outputs = {"Höhe (m)": layers.Dense(1)(both), "a/b": layers.Dense(2)(both)}
    rows = {"Größe in cm": floats(2), "in/y": floats(3)}
    return Built(keras.Model({"Größe in cm": x, "in/y": y}, outputs), rows)


@kind(formats=[], twin=ALL)
def names_with_slashes(keras: Any) -> Built:
    """Keras 2 allows slashes; Keras 3 does not."""
    layers = keras.layers
    x = keras.Input((3,), name="in/x")
    y = layers.Dense(2, name="block/dense")(layers.Dense(4, name="block/hidden")(x))
    return Built(keras.Model(x, y, name="my/model"), floats(3))
