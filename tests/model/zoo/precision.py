"""Quantized, with low-rank adapters, and in half precision."""

from __future__ import annotations

from typing import Any

from tests.model.zoo.kinds import ALL, SAVED_MODEL, Built, kind
from tests.model.zoo.rows import floats, integers


@kind()
def quantized_to_int8(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((6,), dtype="int32")
    y = layers.Flatten()(layers.Embedding(10, 8)(x))
    model = keras.Model(x, layers.Dense(3)(layers.Dense(8, activation="relu")(y)))
    model.quantize("int8")
    return Built(model, integers(6))


# Keras 3.15 cannot load what it saves of its inner layers
@kind(formats=[SAVED_MODEL])
def quantized_attention(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((5, 8))
    y = layers.MultiHeadAttention(2, 4)(x, x)
    model = keras.Model(x, layers.Dense(3)(layers.LayerNormalization()(y)))
    model.quantize("int8")
    return Built(model, floats(5, 8))


@kind()
def quantized_to_int4(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((8,))
    model = keras.Model(x, layers.Dense(4)(layers.Dense(8, activation="relu")(x)))
    model.quantize("int4")
    return Built(model, floats(8))


@kind()
def low_rank_adapters(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((6,), dtype="int32")
    table, dense = layers.Embedding(10, 8), layers.Dense(8, activation="relu")
    einsum = layers.EinsumDense("ab,bc->ac", output_shape=4, bias_axes="c")
    convolution = layers.Conv1D(8, 2)
    y = layers.Flatten()(convolution(table(x)))
    model = keras.Model(x, einsum(dense(y)))
    for layer in (table, dense, einsum, convolution):
        layer.enable_lora(2)
        for weight in layer.trainable_variables:
            if "lora" in weight.name:
                weight.assign(weight + 0.3)
    return Built(model, integers(6))


def in_policy(keras: Any, policy: str) -> Built:
    layers = keras.layers
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, activation="relu", dtype=policy)(x)
    y = layers.GlobalAveragePooling2D(dtype=policy)(layers.BatchNormalization(dtype=policy)(y))
    return Built(keras.Model(x, layers.Dense(2, dtype="float32")(y)), floats(8, 8, 3))


@kind(twin=ALL)
def mixed_float16(keras: Any) -> Built:
    return in_policy(keras, "mixed_float16")


@kind(twin=ALL)
def mixed_bfloat16(keras: Any) -> Built:
    return in_policy(keras, "mixed_bfloat16")


@kind(twin=ALL)
def double_precision(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((4,), dtype="float64")
    y = layers.Dense(2, dtype="float64")(layers.Dense(4, dtype="float64", activation="tanh")(x))
    return Built(keras.Model(x, y), floats(4, dtype="float64"))
