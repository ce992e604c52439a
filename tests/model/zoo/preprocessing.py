"""Preprocessing of numbers, categories and images inside the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.model.zoo.kinds import ALL, KERAS, SAVED_MODEL, Built, kind
from tests.model.zoo.rows import floats, integers, text

COLORS = ["red", "green", "blue"]


@kind(twin=ALL)
def image_preprocessing(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((20, 24, 3), name="image")
    y = layers.CenterCrop(12, 16)(layers.Resizing(18, 20)(x))
    y = layers.Rescaling(1 / 255)(y)
    y = layers.Resizing(8, 8, interpolation="nearest", crop_to_aspect_ratio=True)(y)
    return Built(keras.Model(x, layers.Conv2D(2, 3)(y)), 100 * abs(floats(20, 24, 3)))


@kind()
def images_of_any_size(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((None, None, 3), name="image", dtype="uint8")
    y = layers.Resizing(8, 8)(x)
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(y)))
    return Built(keras.Model(x, y), integers(11, 9, 3, high=256, dtype="uint8"))


# `export` of Keras 3.15 leaves random layers switched on, as in training
@kind(formats=[KERAS], twin=ALL)
def augmentation(keras: Any) -> Built:
    """Random layers, which do nothing in serving."""
    layers = keras.layers
    augment = keras.Sequential(
        [
            layers.RandomFlip(),
            layers.RandomRotation(0.2),
            layers.RandomZoom(0.2),
            layers.RandomTranslation(0.1, 0.1),
            layers.RandomContrast(0.2),
            layers.RandomBrightness(0.2),
        ],
        name="augment",
    )
    x = keras.Input((10, 10, 3), name="image")
    y = layers.Flatten()(augment(x))
    return Built(keras.Model(x, layers.Dense(2)(y)), 255 * abs(floats(10, 10, 3)))


# `export` of Keras 3.15 leaves random layers switched on, as in training
@kind(formats=[KERAS])
def newer_augmentation(keras: Any) -> Built:
    layers = keras.layers
    random = [layers.RandomHue(0.2), layers.RandomSaturation(0.2)]
    random += [layers.RandomGrayscale(0.5), layers.RandomPosterization(4)]
    random += [layers.RandomSharpness(0.2), layers.RandomColorDegeneration(0.2)]
    x = y = keras.Input((8, 8, 3), name="image")
    for layer in random:
        y = layer(y)
    return Built(keras.Model(x, layers.Flatten()(y)), 255 * abs(floats(8, 8, 3)))


@kind(twin=ALL)
def adapted_normalization(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((3,), name="x")
    normalize, restore = layers.Normalization(axis=-1), layers.Normalization(invert=True)
    normalize.adapt(3 * floats(3) + 5)
    restore.adapt(floats(3))
    return Built(keras.Model(x, restore(layers.Dense(3)(normalize(x)))), floats(3) + 4)


@kind(twin=ALL)
def given_normalization(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((2,), name="x")
    y = layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0])(x)
    return Built(keras.Model(x, layers.Dense(1)(y)), floats(2))


@kind(twin=ALL)
def buckets(keras: Any) -> Built:
    layers = keras.layers
    age, size = keras.Input((1,), name="age"), keras.Input((1,), name="size")
    learned = layers.Discretization(num_bins=3)
    learned.adapt(np.arange(12, dtype="float32")[:, None])
    old = layers.CategoryEncoding(4, output_mode="one_hot")(
        layers.Discretization([-1.0, 0.0, 1.0])(age)
    )
    large = layers.CategoryEncoding(3, output_mode="multi_hot")(learned(size))
    y = layers.Dense(2)(layers.Concatenate()([old, large]))
    return Built(keras.Model([age, size], y), [floats(1), 6 + 4 * floats(1)])


@kind(twin=[KERAS, SAVED_MODEL])
def counted_categories(keras: Any) -> Built:
    layers = keras.layers
    ids, weights = keras.Input((3,), name="ids", dtype="int32"), keras.Input((3,), name="weights")
    y = layers.CategoryEncoding(6, output_mode="count")(ids, count_weights=weights)
    return Built(keras.Model([ids, weights], layers.Dense(2)(y)), [integers(3, high=6), floats(3)])


@kind(twin=ALL)
def hashing(keras: Any) -> Built:
    layers = keras.layers
    color, number = (
        keras.Input((1,), name="color", dtype="string"),
        keras.Input((1,), name="n", dtype="int64"),
    )
    first = layers.Embedding(8, 3)(layers.Hashing(8, salt=[3, 4])(color))
    second = layers.Embedding(8, 3)(layers.Hashing(8, mask_value=0)(number))
    y = layers.Dense(2)(layers.Flatten()(layers.Concatenate()([first, second])))
    rows = [text(*([each] for each in [*COLORS, "", "pink"])), integers(1, dtype="int64")]
    return Built(keras.Model([color, number], y), rows)


@kind(twin=ALL)
def hashed_crossing(keras: Any) -> Built:
    layers = keras.layers
    color, number = (
        keras.Input((1,), name="color", dtype="string"),
        keras.Input((1,), name="n", dtype="int64"),
    )
    y = layers.HashedCrossing(12, output_mode="one_hot")((color, number))
    rows = [text(*([each] for each in [*COLORS, "", "pink"])), integers(1, dtype="int64")]
    return Built(keras.Model([color, number], layers.Dense(2)(y)), rows)


@kind(twin=ALL)
def string_lookup(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((2,), name="colors", dtype="string")
    ids = layers.StringLookup(vocabulary=COLORS, num_oov_indices=2)(x)
    hot = layers.StringLookup(vocabulary=COLORS, output_mode="multi_hot")(x)
    outputs = [layers.Flatten()(layers.Embedding(6, 2)(ids)), layers.Dense(2)(hot)]
    rows = text(["red", "blue"], ["green", "?"], ["", "red"], ["pink", "pink"], ["blue", "blue"])
    return Built(keras.Model(x, layers.Concatenate()(outputs)), rows)


@kind(twin=ALL)
def lookup_without_unknown_words(keras: Any) -> Built:
    """It refuses what is not in its vocabulary."""
    layers = keras.layers
    x = keras.Input((1,), name="color", dtype="string")
    ids = layers.StringLookup(vocabulary=COLORS, num_oov_indices=0)(x)
    y = layers.Flatten()(layers.Embedding(3, 2)(ids))
    return Built(keras.Model(x, y), text(["red"], ["green"], ["blue"], ["red"], ["blue"]))


@kind(twin=ALL)
def labels_of_classes(keras: Any) -> Built:
    """Strings come out."""
    layers = keras.layers
    x = keras.Input((2,), name="colors", dtype="string")
    ids = layers.StringLookup(vocabulary=COLORS)(x)
    words = layers.StringLookup(vocabulary=COLORS, invert=True, name="words")(ids)
    rows = text(["red", "blue"], ["green", "?"], ["", "red"], ["pink", "pink"], ["blue", "blue"])
    return Built(keras.Model(x, words), rows)


@kind(formats=[KERAS, SAVED_MODEL], twin=[KERAS, SAVED_MODEL])
def integer_lookup(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((1,), name="code", dtype="int64")
    adapted = layers.IntegerLookup(output_mode="one_hot", num_oov_indices=1)
    adapted.adapt(np.array([[7], [7], [3], [1000]]))
    known = layers.IntegerLookup(vocabulary=[1, 2, 5])(x)
    y = layers.Concatenate()([adapted(x), layers.Flatten()(layers.Embedding(4, 2)(known))])
    return Built(
        keras.Model(x, layers.Dense(2)(y)), np.array([[7], [3], [1000], [5], [2]], "int64")
    )


@kind(formats=[KERAS, SAVED_MODEL])
def feature_space(keras: Any) -> Built:
    """Columns of a table, each with its own preprocessing."""
    import tensorflow as tf

    space = keras.utils.FeatureSpace
    features = space(
        features={
            "age": space.float_normalized(),
            "height": space.float_discretized(num_bins=3),
            "color": space.string_categorical(num_oov_indices=1),
            "code": space.integer_categorical(),
            "town": space.string_hashed(num_bins=6),
        },
        crosses=[space.cross(("color", "code"), crossing_dim=8)],
        output_mode="concat",
    )
    table = {
        "age": floats(),
        "height": 2 * floats(),
        "color": text("red", "green", "blue", "red", "red"),
        "code": integers(),
        "town": text("Ulm", "Bern", "Graz", "Ulm", "Köln"),
    }
    features.adapt(tf.data.Dataset.from_tensor_slices(table))
    y = keras.layers.Dense(2)(features.get_encoded_features())
    rows = {name: column[:, None] for name, column in table.items()}
    return Built(keras.Model(features.get_inputs(), y), rows)


@kind()
def audio(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((2000,), name="wave")
    y = layers.MelSpectrogram(
        fft_length=256, sequence_stride=128, sampling_rate=4000, num_mel_bins=8
    )(x)
    return Built(keras.Model(x, layers.Dense(2)(layers.Flatten()(y))), floats(2000))
