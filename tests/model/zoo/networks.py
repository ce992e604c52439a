"""Whole networks as people build them for a task."""

from __future__ import annotations

from typing import Any

from tests.model.zoo.kinds import ALL, H5, KERAS, SAVED_MODEL, Built, kind
from tests.model.zoo.rows import floats, integers


@kind(twin=ALL)
def autoencoder(keras: Any) -> Built:
    """An encoder and a decoder, each a model."""
    layers = keras.layers
    encoder = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(4, 3, strides=2, padding="same"), layers.Flatten()],
        name="encoder",
    )
    decoder = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Reshape((4, 4, 4)),
            layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"),
        ],
        name="decoder",
    )
    x = keras.Input((8, 8, 1), name="image")
    return Built(keras.Model(x, decoder(encoder(x)), name="autoencoder"), floats(8, 8, 1))


@kind(twin=ALL)
def u_net(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((16, 16, 3), name="image")
    first = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    second = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(first))
    y = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(second))
    y = layers.Concatenate()([second, layers.Conv2DTranspose(8, 2, strides=2)(y)])
    y = layers.Concatenate()([first, layers.UpSampling2D()(layers.Conv2D(4, 1)(y))])
    return Built(keras.Model(x, layers.Conv2D(2, 1, activation="softmax")(y)), floats(16, 16, 3))


@kind(twin=ALL)
def residual_network(keras: Any) -> Built:
    layers = keras.layers
    x = y = keras.Input((8, 8, 4))
    for _ in range(2):
        shortcut = y
        y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(y)))
        y = layers.Add()([shortcut, layers.Conv2D(4, 3, padding="same")(y)])
    return Built(keras.Model(x, layers.GlobalAveragePooling2D()(y)), floats(8, 8, 4))


# `export` of Keras 3.15 counts rows instead of steps where their number varies
@kind(formats=[KERAS, H5], twin=ALL)
def tagger(keras: Any) -> Built:
    """A label for each word of a sentence of any length."""
    layers = keras.layers
    x = keras.Input((None,), dtype="int32", name="words")
    y = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(layers.Embedding(10, 4)(x))
    y = layers.TimeDistributed(layers.Dense(3, activation="softmax"), name="tags")(y)
    return Built(keras.Model(x, y), integers(6))


# `export` of Keras 3.15 counts rows instead of steps where their number varies
@kind(formats=[KERAS, H5], twin=ALL)
def classifier_of_videos(keras: Any) -> Built:
    layers = keras.layers
    frame = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()]
    )
    x = keras.Input((None, 8, 8, 3), name="video")
    return Built(
        keras.Model(x, layers.GRU(3)(layers.TimeDistributed(frame)(x))), floats(4, 8, 8, 3)
    )


@kind(twin=ALL)
def detector(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((16, 16, 3), name="image")
    y = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    boxes = layers.Reshape((-1, 4))(layers.Conv2D(8, 3, padding="same")(y))
    classes = layers.Reshape((-1, 3))(layers.Conv2D(6, 3, padding="same")(y))
    outputs = {"classes": layers.Softmax()(classes), "boxes": boxes}
    return Built(keras.Model(x, outputs), floats(16, 16, 3))


@kind(formats=[KERAS, SAVED_MODEL])
def detector_with_the_best_boxes(keras: Any) -> Built:
    layers, ops = keras.layers, keras.ops
    x = keras.Input((8, 8, 3), name="image")
    y = layers.Reshape((-1,))(layers.Conv2D(1, 3)(x))
    scores, places = ops.top_k(y, 4)
    column, row = ops.split(ops.stack([places % 6, places // 6], axis=-1), 2, axis=-1)
    return Built(keras.Model(x, [scores, row, column]), floats(8, 8, 3))


@kind(twin=ALL)
def two_towers(keras: Any) -> Built:
    layers = keras.layers
    user, item = (keras.Input((1,), name=name, dtype="int64") for name in ("user", "item"))
    towers = [
        layers.Dense(4, activation="relu")(layers.Flatten()(layers.Embedding(10, 6)(each)))
        for each in (user, item)
    ]
    y = layers.Dot(1, name="score")(towers)
    rows = {"user": integers(1, dtype="int64"), "item": 9 - integers(1, dtype="int64")}
    return Built(keras.Model({"user": user, "item": item}, y), rows)


@kind(twin=ALL)
def siamese(keras: Any) -> Built:
    """One network for both inputs."""
    layers = keras.layers
    shared = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, activation="tanh")], name="shared"
    )
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    y = layers.Subtract()([shared(left), shared(right)])
    return Built(keras.Model([left, right], layers.Dense(1)(y)), [floats(6), 1 - floats(6)])


@kind(twin=ALL)
def shared_towers_as_outputs(keras: Any) -> Built:
    """A layer that is called twice gives both outputs."""
    shared = keras.layers.Dense(3, name="tower")
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    return Built(keras.Model([a, b], [shared(a), shared(b)]), [floats(4), 2 - floats(4)])


@kind(twin=ALL)
def wide_and_deep(keras: Any) -> Built:
    layers = keras.layers
    wide, deep = keras.Input((3,), name="wide"), keras.Input((5,), name="deep")
    hidden = layers.Dense(4, activation="relu")(layers.Dense(6, activation="relu")(deep))
    main = layers.Dense(1, name="main")(layers.Concatenate()([wide, hidden]))
    outputs = [main, layers.Dense(2, name="side")(hidden)]
    return Built(keras.Model([wide, deep], outputs), [floats(3), floats(5)])


@kind(twin=ALL)
def models_in_models(keras: Any) -> Built:
    layers = keras.layers
    core = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.BatchNormalization()])
    x = keras.Input((4,))
    middle = keras.Model(x, layers.Add()([x, core(x)]), name="middle")
    model = keras.Sequential(
        [keras.Input((4,)), middle, layers.Dense(2), keras.Sequential([layers.ReLU()])]
    )
    return Built(model, floats(4))


@kind(twin=ALL)
def compiled_and_trained(keras: Any) -> Built:
    """Optimizer, losses and metrics are in the file, also those of an inner model."""
    layers = keras.layers
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu")])
    inner.compile("sgd", "mse", metrics=["mae"])
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(1)(inner(x)))
    model.compile(keras.optimizers.Adam(0.01), keras.losses.Huber(), metrics=["mae"])
    model.fit(floats(4), floats(1), epochs=2, verbose=0)
    return Built(model, floats(4))


@kind(twin=[KERAS, H5])
def fixed_number_of_rows(keras: Any) -> Built:
    x = keras.Input((4,), batch_size=5)
    return Built(keras.Model(x, keras.layers.Dense(2)(x)), floats(4))
