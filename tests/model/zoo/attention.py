"""Attention, and transformers made of it."""

from __future__ import annotations

from typing import Any

from tests.model.zoo.kinds import ALL, KERAS, SAVED_MODEL, Built, kind
from tests.model.zoo.rows import floats, integers


@kind(formats=[KERAS, SAVED_MODEL], twin=ALL)
def dot_and_additive_attention(keras: Any) -> Built:
    layers = keras.layers
    q, v = keras.Input((4, 3), name="q"), keras.Input((None, 3), name="v")
    first = layers.Attention(use_scale=True)([q, v])
    second = layers.AdditiveAttention()([q, v])
    y = layers.Concatenate()([first, second])
    return Built(
        keras.Model([q, v], layers.GlobalAveragePooling1D()(y)), [floats(4, 3), floats(6, 3)]
    )


@kind(twin=ALL)
def multi_head_attention(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((None, 6))
    y = layers.MultiHeadAttention(2, 3, value_dim=4)(x, x, use_causal_mask=True)
    y = layers.LayerNormalization()(layers.Add()([x, y]))
    return Built(keras.Model(x, y), floats(5, 6))


@kind()
def grouped_query_attention(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((5, 8))
    y = layers.GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)(x, x)
    return Built(keras.Model(x, layers.Dense(2)(y)), floats(5, 8))


@kind(twin=ALL)
def attention_scores(keras: Any) -> Built:
    """Two outputs of one layer."""
    x = keras.Input((5, 4), name="x")
    attention = keras.layers.MultiHeadAttention(2, 2, name="attention")
    return Built(keras.Model(x, list(attention(x, x, return_attention_scores=True))), floats(5, 4))


def block(keras: Any, x: Any) -> Any:
    """A transformer's block."""
    layers = keras.layers
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4, dropout=0.1)(y, y)])
    y = layers.Dense(16, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
    return layers.Add()([x, layers.Dense(8)(layers.Dropout(0.1)(y))])


@kind(formats=[KERAS, SAVED_MODEL], twin=ALL)
def transformer_of_ids(keras: Any) -> Built:
    """Ids of which zero is padding, and learned positions."""
    layers = keras.layers
    x = keras.Input((6,), dtype="int32", name="token_ids")
    y = layers.Embedding(10, 8, mask_zero=True)(x)
    y = block(keras, block(keras, y))
    y = layers.GlobalAveragePooling1D()(y)
    return Built(keras.Model(x, layers.Dense(2, activation="softmax")(y)), integers(6, high=4))


@kind(formats=[KERAS, SAVED_MODEL])
def bert_like(keras: Any) -> Built:
    """A dict of ids and a padding mask, as KerasHub's classifiers take it."""
    layers, ops = keras.layers, keras.ops
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = keras.Input((None,), dtype="int32", name="padding_mask")
    x = layers.Embedding(20, 8)(ids)
    kept = ops.cast(ops.expand_dims(mask, 1), "bool")
    y = layers.MultiHeadAttention(2, 4)(x, x, attention_mask=kept)
    y = layers.LayerNormalization()(x + y)
    outputs = {"sequence": y, "pooled": layers.Dense(4, activation="tanh")(y[:, 0, :])}
    rows = {"token_ids": integers(6, high=20), "padding_mask": integers(6, high=2)}
    rows["padding_mask"][:, 0] = 1
    return Built(keras.Model({"token_ids": ids, "padding_mask": mask}, outputs), rows)


@kind(formats=[KERAS, SAVED_MODEL])
def vision_transformer(keras: Any) -> Built:
    layers, ops = keras.layers, keras.ops
    x = keras.Input((16, 16, 3), name="image")
    y = layers.Conv2D(8, 4, strides=4)(layers.Rescaling(1 / 255)(x))
    y = layers.Reshape((16, 8))(y)
    y = y + layers.Embedding(16, 8)(ops.expand_dims(ops.arange(16), 0))
    y = layers.GlobalAveragePooling1D()(block(keras, y))
    return Built(keras.Model(x, layers.Dense(3)(y)), 255 * abs(floats(16, 16, 3)))
