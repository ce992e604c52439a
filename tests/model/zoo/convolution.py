"""Convolutions and pooling in one, two and three dimensions."""

from __future__ import annotations

from typing import Any

from tests.model.zoo.kinds import ALL, Built, kind
from tests.model.zoo.rows import floats, integers


@kind(twin=ALL)
def convolution_1d(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((None, 3))
    y = layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu")(x)
    y = layers.SeparableConv1D(6, 3, padding="same")(layers.MaxPooling1D(2, padding="same")(y))
    y = layers.AveragePooling1D(2, strides=1)(layers.Conv1D(4, 2, groups=2)(y))
    both = [layers.GlobalMaxPooling1D()(y), layers.GlobalAveragePooling1D()(y)]
    return Built(keras.Model(x, layers.Dense(2)(layers.Concatenate()(both))), floats(12, 3))


@kind(twin=ALL)
def convolution_2d(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((12, 12, 3), dtype="uint8")
    y = layers.Rescaling(1 / 127.5, offset=-1)(x)
    y = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(y)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Conv2D(8, (1, 3), groups=4)(layers.MaxPooling2D(2, strides=1)(y))
    y = layers.GlobalAveragePooling2D(keepdims=True)(layers.AveragePooling2D(2)(y))
    y = layers.Dense(3, activation="softmax")(layers.Flatten()(y))
    return Built(keras.Model(x, y), integers(12, 12, 3, high=256, dtype="uint8"))


@kind(twin=ALL)
def depthwise_and_separable(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((8, 8, 4))
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    y = layers.SeparableConv2D(6, 3, dilation_rate=2, depth_multiplier=2)(y)
    return Built(keras.Model(x, layers.GlobalMaxPooling2D()(y)), floats(8, 8, 4))


@kind(twin=ALL)
def depthwise_1d(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((8, 4))
    y = layers.DepthwiseConv1D(3, depth_multiplier=2, strides=2)(x)
    return Built(keras.Model(x, layers.Flatten()(layers.ZeroPadding1D(1)(y))), floats(8, 4))


@kind(twin=ALL)
def transposed_convolutions(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((5, 3))
    y = layers.Conv1DTranspose(4, 3, strides=2, padding="same")(x)
    y = layers.Reshape((5, 2, 4))(y)
    y = layers.Conv2DTranspose(3, 3, strides=2, output_padding=1)(y)
    y = layers.Reshape((12, 6, 3, 1))(y)
    y = layers.Conv3DTranspose(2, 2, activation="tanh")(y)
    return Built(keras.Model(x, y), floats(5, 3))


@kind(twin=ALL)
def convolution_3d(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((6, 6, 6, 1), name="volume")
    y = layers.Conv3D(4, 3, activation="relu")(layers.ZeroPadding3D(1)(x))
    y = layers.AveragePooling3D(2)(layers.UpSampling3D(2)(layers.MaxPooling3D(2)(y)))
    y = layers.GlobalAveragePooling3D()(layers.Cropping3D(1)(y))
    return Built(keras.Model(x, layers.Dense(2)(y)), floats(6, 6, 6, 1))


@kind()
def adaptive_pooling(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((8, 8, 2))
    y = layers.Conv2D(3, 3, padding="same")(x)
    pooled = [layers.AdaptiveAveragePooling2D(3)(y), layers.AdaptiveMaxPooling2D(3)(y)]
    return Built(keras.Model(x, layers.Concatenate()(pooled)), floats(8, 8, 2))
