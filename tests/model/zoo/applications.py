"""Networks of `keras.applications` with random weights, whole and inside another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.model.zoo.kinds import ALL, KERAS, SAVED_MODEL, Built, Make, kind
from tests.model.zoo.rows import floats

SIZES: dict[str, dict[str, Any]] = {
    "MobileNetV2": {"input_shape": (32, 32, 3), "alpha": 0.35},
    "MobileNetV3Small": {"input_shape": (32, 32, 3), "alpha": 0.75},
    "EfficientNetB0": {"input_shape": (32, 32, 3)},
    "DenseNet121": {"input_shape": (32, 32, 3)},
    "ConvNeXtTiny": {"input_shape": (32, 32, 3)},
    "NASNetMobile": {"input_shape": (32, 32, 3)},
}
WITHOUT_H5 = dict.fromkeys(("MobileNetV3Small", "ConvNeXtTiny"), (KERAS, SAVED_MODEL))
IN_KERAS_2 = {"MobileNetV2": ALL, "EfficientNetB0": (KERAS, SAVED_MODEL)}


def images(keras: Any) -> Any:
    return abs(60 * floats(32, 32, 3))


def whole(name: str) -> Make:
    """A network with its own head."""

    def make(keras: Any) -> Built:
        network = getattr(keras.applications, name)
        return Built(network(weights=None, classes=4, **SIZES[name]), images(keras))

    return renamed(make, f"{name}_whole")


def base(name: str) -> Make:
    """A network as the frozen base of another, as fine-tuning makes it."""

    def make(keras: Any) -> Built:
        layers = keras.layers
        network = getattr(keras.applications, name)
        inner = network(weights=None, include_top=False, pooling="avg", **SIZES[name])
        inner.trainable = False
        x = keras.Input((32, 32, 3), name="image")
        y = layers.Dropout(0.2)(inner(x, training=False))
        return Built(keras.Model(x, layers.Dense(2, activation="sigmoid")(y)), images(keras))

    return renamed(make, f"{name}_base")


def renamed(make: Callable[[Any], Built], name: str) -> Make:
    make.__name__ = name
    return make


for _name in SIZES:
    for _make in (whole(_name), base(_name)):
        kind(WITHOUT_H5.get(_name, ALL), IN_KERAS_2.get(_name, ()))(_make)
