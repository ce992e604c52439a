"""Dense, merging, reshaping, normalization, regularization, activations."""

from __future__ import annotations

from typing import Any

from tests.model.zoo.kinds import ALL, KERAS, SAVED_MODEL, Built, kind
from tests.model.zoo.rows import floats, integers


@kind(twin=ALL)
def dense_sequential(keras: Any) -> Built:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, activation="relu", kernel_regularizer="l2"),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax", kernel_constraint="max_norm"),
        ]
    )
    return Built(model, floats(4))


@kind(twin=ALL)
def sequential_built_by_its_call(keras: Any) -> Built:
    layers = keras.layers
    model = keras.Sequential([layers.Dense(5, activation="tanh"), layers.Dense(2)])
    model.build((None, 3))
    model(floats(3))
    return Built(model, floats(3))


@kind()
def multi_axis_dense(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((3, 4))
    y = layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d")(x)
    return Built(keras.Model(x, layers.Dense(2)(y)), floats(3, 4))


@kind(twin=ALL)
def activations(keras: Any) -> Built:
    """Activations by name, as layers, and those with weights."""
    layers = keras.layers
    x = keras.Input((6,))
    names = ["elu", "gelu", "hard_sigmoid", "mish", "selu", "softplus", "softsign", "swish"]
    answers = [layers.Activation(name, name=f"by_{name}")(x) for name in names]
    as_layers = [
        layers.ELU(),
        layers.LeakyReLU(),
        layers.PReLU(),
        layers.ReLU(6.0),
        layers.Softmax(),
    ]
    answers += [layer(x) for layer in as_layers]
    return Built(keras.Model(x, layers.Concatenate()(answers)), floats(6))


@kind()
def newer_activations(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((6,))
    names = ["celu", "hard_shrink", "hard_tanh", "log_sigmoid", "soft_shrink", "sparsemax"]
    names += ["sparse_plus", "squareplus", "tanh_shrink"]
    answers = [layers.Activation(name)(x) for name in names] + [layers.Activation("glu")(x)]
    return Built(keras.Model(x, layers.Concatenate()(answers)), floats(6))


@kind(twin=ALL)
def merging(keras: Any) -> Built:
    layers = keras.layers
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    kinds = [layers.Add, layers.Subtract, layers.Multiply, layers.Average]
    kinds += [layers.Maximum, layers.Minimum]
    answers = [each()([a, b]) for each in kinds]
    answers.append(layers.Dot(1, normalize=True)([a, b]))
    y = layers.Dense(3)(layers.Concatenate()(answers))
    return Built(keras.Model([a, b], y), [floats(4), 2 * floats(4) + 1])


@kind(twin=ALL)
def reshaping(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((4, 4, 2))
    y = layers.Cropping2D(((1, 0), (0, 1)))(layers.ZeroPadding2D(1)(x))
    y = layers.Permute((2, 1, 3))(layers.UpSampling2D(2, interpolation="bilinear")(y))
    y = layers.Reshape((-1, 2))(y)
    y = layers.Flatten()(layers.UpSampling1D(2)(layers.Cropping1D(1)(y)))
    y = layers.RepeatVector(2)(y)
    return Built(keras.Model(x, layers.Dense(2)(y)), floats(4, 4, 2))


@kind(formats=[KERAS, SAVED_MODEL])
def normalizations(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((4, 6))
    y = layers.LayerNormalization(axis=[1, 2])(x)
    y = layers.GroupNormalization(groups=3)(y)
    y = layers.BatchNormalization(axis=1)(y)
    y = layers.UnitNormalization()(layers.RMSNormalization()(y))
    y = layers.SpectralNormalization(layers.Dense(3))(y)
    return Built(keras.Model(x, y), floats(4, 6))


@kind(twin=ALL)
def keras_2_normalizations(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((4, 6))
    y = layers.LayerNormalization(axis=-1, epsilon=0.1)(x)
    y = layers.UnitNormalization()(layers.GroupNormalization(groups=2)(y))
    return Built(keras.Model(x, layers.BatchNormalization(scale=False)(y)), floats(4, 6))


@kind(twin=ALL)
def regularization(keras: Any) -> Built:
    """Layers that do nothing in serving."""
    layers = keras.layers
    x = keras.Input((5, 4))
    y = layers.SpatialDropout1D(0.5)(layers.GaussianDropout(0.5)(layers.GaussianNoise(1.0)(x)))
    y = layers.AlphaDropout(0.3)(layers.ActivityRegularization(l1=0.1)(y))
    return Built(keras.Model(x, layers.Dense(2, activity_regularizer="l2")(y)), floats(5, 4))


@kind(twin=ALL)
def embedding_table(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((3,), dtype="int32")
    y = layers.Flatten()(layers.Embedding(10, 4, embeddings_initializer="glorot_normal")(x))
    return Built(keras.Model(x, layers.Dense(2)(y)), integers(3))


@kind(formats=[KERAS, SAVED_MODEL], twin=ALL)
def operators(keras: Any) -> Built:
    """Arithmetic and slices on the tensors of the functional API."""
    x = keras.Input((4,))
    y = (x[:, 1:] * 2.0 + x[:, :3] / 3.0 - 1.0) ** 2
    return Built(keras.Model(x, keras.layers.Dense(2)(-y)), floats(4))


@kind(formats=[KERAS, SAVED_MODEL])
def operations(keras: Any) -> Built:
    """Functions of `keras.ops` between layers."""
    ops = keras.ops
    x = keras.Input((4, 3))
    y = ops.einsum("bij,bkj->bik", x, x) + ops.expand_dims(ops.mean(x, axis=-1), -1)
    y = ops.where(ops.greater(y, 0.0), ops.sqrt(ops.abs(y)), ops.tanh(y))
    y = ops.concatenate([y, ops.cumsum(y, axis=1), ops.roll(y, 1, axis=2)], axis=-1)
    y = ops.stack([ops.max(y, axis=1), ops.logsumexp(y, axis=1)], axis=1)
    y = ops.reshape(ops.transpose(y, (0, 2, 1)), (-1, 24))
    top, index = ops.top_k(y, 3)
    return Built(
        keras.Model(x, {"all": ops.clip(y, -1, 1), "top": top, "index": index}), floats(4, 3)
    )


@kind(formats=[KERAS, SAVED_MODEL])
def linear_algebra(keras: Any) -> Built:
    """What refuses matrices that it cannot take."""
    ops = keras.ops
    x = keras.Input((3, 3))
    square = ops.matmul(x, ops.transpose(x, (0, 2, 1))) + 0.5 * ops.eye(3)
    y = ops.concatenate([ops.cholesky(square), ops.inv(square)], axis=-1)
    return Built(keras.Model(x, {"y": y, "norm": ops.norm(x, axis=(1, 2))}), floats(3, 3))
