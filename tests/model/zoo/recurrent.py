"""Recurrent layers, and what shares states with them."""

from __future__ import annotations

from typing import Any

from tests.model.zoo.kinds import ALL, KERAS, SAVED_MODEL, Built, kind
from tests.model.zoo.rows import floats, integers


@kind(twin=ALL)
def lstm_of_ids(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((None,), dtype="int32", name="ids")
    y = layers.LSTM(5, return_sequences=True)(layers.Embedding(10, 4)(x))
    return Built(keras.Model(x, layers.Dense(2)(layers.LSTM(3, go_backwards=True)(y))), integers(7))


@kind(formats=[KERAS, SAVED_MODEL], twin=ALL)
def masked_lstm_of_ids(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((None,), dtype="int32", name="ids")
    y = layers.Embedding(10, 4, mask_zero=True)(x)
    y = layers.Bidirectional(layers.LSTM(3))(y)
    return Built(keras.Model(x, layers.Dense(2)(y)), integers(7, high=3))


# `export` of Keras 3.15 counts rows instead of steps where their number varies
@kind(formats=[KERAS], twin=ALL)
def masking(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((None, 3))
    y = layers.GRU(4, return_sequences=True)(layers.Masking(0.0)(x))
    y = layers.TimeDistributed(layers.Dense(2, activation="tanh"))(y)
    rows = floats(6, 3)
    rows[:3, 4:] = 0
    return Built(keras.Model(x, layers.GlobalAveragePooling1D()(y)), rows)


@kind(twin=ALL)
def gru_variants(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((5, 3))
    first = layers.GRU(4, reset_after=False, recurrent_activation="hard_sigmoid")(x)
    second = layers.GRU(4, unroll=True, use_bias=False)(x)
    third = layers.SimpleRNN(3, activation="relu")(x)
    return Built(keras.Model(x, layers.Concatenate()([first, second, third])), floats(5, 3))


@kind(twin=ALL)
def bidirectional(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((6, 3))
    y = layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="sum")(x)
    y = layers.Bidirectional(layers.LSTM(3), backward_layer=layers.GRU(3, go_backwards=True))(y)
    return Built(keras.Model(x, y), floats(6, 3))


@kind(twin=ALL)
def stacked_cells(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((5, 3))
    cells = [layers.LSTMCell(4), layers.GRUCell(3), layers.SimpleRNNCell(2)]
    y = layers.RNN(cells, return_sequences=True)(x)
    return Built(
        keras.Model(x, layers.RNN(layers.StackedRNNCells([layers.LSTMCell(2)]))(y)), floats(5, 3)
    )


@kind(twin=ALL)
def convolutional_lstm(keras: Any) -> Built:
    layers = keras.layers
    x = keras.Input((3, 6, 6, 2))
    y = layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True)(x)
    y = layers.TimeDistributed(layers.Conv2D(2, 3))(layers.BatchNormalization()(y))
    return Built(keras.Model(x, layers.ConvLSTM2D(2, 2)(y)), floats(3, 6, 6, 2))


@kind()
def convolutional_lstm_1d_and_3d(keras: Any) -> Built:
    layers = keras.layers
    x, z = keras.Input((3, 6, 2), name="x"), keras.Input((2, 3, 3, 3, 1), name="z")
    answers = [layers.ConvLSTM1D(3, 2)(x), layers.ConvLSTM3D(2, 2, padding="same")(z)]
    return Built(keras.Model([x, z], answers), [floats(3, 6, 2), floats(2, 3, 3, 3, 1)])


@kind(twin=ALL)
def states_of_a_lstm(keras: Any) -> Built:
    """Three outputs of one layer."""
    x = keras.Input((5, 3))
    outputs = keras.layers.LSTM(4, return_state=True, return_sequences=True)(x)
    return Built(keras.Model(x, list(outputs)), floats(5, 3))


@kind(twin=ALL)
def encoder_and_decoder_with_states(keras: Any) -> Built:
    """Translation as it is trained: the decoder starts with the encoder's states."""
    layers = keras.layers
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    table = layers.Embedding(10, 4)
    _, *states = layers.LSTM(5, return_state=True)(table(source))
    y = layers.LSTM(5, return_sequences=True)(table(target), initial_state=states)
    model = keras.Model([source, target], layers.Dense(10, activation="softmax")(y))
    return Built(model, [integers(6), integers(4)])


@kind(twin=ALL)
def decoder_of_one_step(keras: Any) -> Built:
    """States go in and come out."""
    layers = keras.layers
    x, h, c = (
        keras.Input(shape, name=name) for name, shape in (("x", (1, 3)), ("h", (4,)), ("c", (4,)))
    )
    y, new_h, new_c = layers.LSTM(4, return_state=True)(x, initial_state=[h, c])
    outputs = {"y": layers.Dense(2)(y), "new_h": new_h, "new_c": new_c}
    rows = {"x": floats(1, 3), "h": floats(4), "c": 2 * floats(4)}
    return Built(keras.Model({"x": x, "h": h, "c": c}, outputs), rows)


@kind(twin=ALL)
def stateful_of_a_fixed_number_of_rows(keras: Any) -> Built:
    x = keras.Input((4, 3), batch_size=5)
    y = keras.layers.LSTM(3, stateful=True)(x)
    return Built(keras.Model(x, keras.layers.Dense(2)(y)), floats(4, 3))
