"""Values that a model knows, read off its layers, with Keras 3 and with Keras 2."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from model.formats.vocabulary import MAX_CHARACTERS, MAX_SAMPLES, samples_of
from model.signature import TensorSpec

pytestmark = pytest.mark.keras

LETTERS = [chr(ord("a") + number) for number in range(26)]


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def samples(model: Any, dtype: str, maximum: int | None = None) -> tuple[int | str, ...]:
    """The samples of a model's only input."""
    return samples_of(model, model.inputs[0], TensorSpec("x", (1,), dtype, maximum=maximum))


def of_layers(
    keras: Any, dtype: str, *layers: Any, maximum: int | None = None
) -> tuple[int | str, ...]:
    """The samples of a model that is a chain of layers."""
    x = keras.Input((1,), name="x", dtype=dtype)
    y = x
    for layer in layers:
        y = layer(y)
    return samples(keras.Model(x, y), dtype, maximum)


def test_words_and_numbers_of_lookups(keras: Any) -> None:
    """Without the mask and without the entry for unknown words, which no text contains."""
    layers = keras.layers
    words = layers.StringLookup(vocabulary=["red", "green"], num_oov_indices=0, mask_token="")
    assert of_layers(keras, "string", words) == ("red", "green")
    assert all(type(word) is str for word in of_layers(keras, "string", words))
    hot = layers.IntegerLookup(vocabulary=[10, 20], num_oov_indices=2, output_mode="multi_hot")
    assert of_layers(keras, "int64", hot) == (10, 20)
    assert all(type(number) is int for number in of_layers(keras, "int64", hot))


def test_ids_of_an_inverted_lookup(keras: Any) -> None:
    lookup = keras.layers.StringLookup(vocabulary=LETTERS[:3], invert=True)

    assert of_layers(keras, "int64", lookup) == (1, 2, 3)


def test_texts_of_a_few_words(keras: Any) -> None:
    texts = keras.layers.TextVectorization(vocabulary=["good", "bad", "film"])
    found = of_layers(keras, "string", texts)

    assert found[:3] == ("good bad film", "good bad", "film good bad film")
    assert len({len(str(text).split()) for text in found}) > 2


@pytest.mark.parametrize("split, first", [("character", "abc"), (None, "a")])
def test_texts_are_joined_as_the_layer_splits_them(
    keras: Any, split: str | None, first: str
) -> None:
    layer = keras.layers.TextVectorization(vocabulary=LETTERS, split=split)

    assert of_layers(keras, "string", layer)[0] == first


def test_ids_of_an_embedding_with_a_mask(keras: Any) -> None:
    """The id 0 is masked, and a sequence of nothing else has no answer. Others know any id."""
    embedding = keras.layers.Embedding

    assert of_layers(keras, "int32", embedding(5, 2, mask_zero=True)) == (1, 2, 3, 4)
    assert of_layers(keras, "int32", embedding(1, 2, mask_zero=True)) == ()
    assert of_layers(keras, "int32", embedding(5, 2)) == ()


def test_ids_of_a_category_encoding(keras: Any) -> None:
    assert of_layers(keras, "int32", keras.layers.CategoryEncoding(3)) == (0, 1, 2)


def test_a_few_of_many_and_none_that_are_long(keras: Any) -> None:
    words = ["x" * (MAX_CHARACTERS + 1), *LETTERS]
    found = of_layers(keras, "string", keras.layers.StringLookup(vocabulary=words))

    assert found == tuple(LETTERS[:MAX_SAMPLES])


def test_values_that_the_input_cannot_hold_are_left_out(keras: Any) -> None:
    lookup = keras.layers.IntegerLookup(vocabulary=[-5, 7, 300])

    assert of_layers(keras, "int64", lookup, maximum=9) == (7,)


def test_layers_of_inner_models_and_behind_a_change_of_shape(keras: Any) -> None:
    layers = keras.layers
    lookup = layers.StringLookup(vocabulary=["red"])
    inner = keras.Sequential([keras.Input((1,), dtype="string"), lookup])
    assert of_layers(keras, "string", inner) == ("red",)
    shaped = layers.Reshape((1, 1), dtype="int32")
    behind = of_layers(keras, "int32", shaped, layers.Embedding(3, 2, mask_zero=True))
    assert behind == (1, 2)


def test_what_all_layers_know(keras: Any) -> None:
    """A layer that takes any value is not asked."""
    layers = keras.layers
    x = keras.Input((1,), name="x", dtype="string")
    outputs = [
        layers.StringLookup(vocabulary=["red", "blue", "green"])(x),
        layers.StringLookup(vocabulary=["green", "red"])(x),
        layers.Hashing(7)(x),
    ]
    assert samples(keras.Model(x, outputs), "string") == ("red", "green")


def test_inputs_that_take_any_value_have_none(keras: Any) -> None:
    assert of_layers(keras, "float32", keras.layers.Dense(1)) == ()
    assert of_layers(keras, "string", keras.layers.Hashing(7)) == ()


def test_each_input_has_its_own(keras: Any) -> None:
    layers = keras.layers
    colour = keras.Input((1,), name="colour", dtype="string")
    number = keras.Input((1,), name="number", dtype="int64")
    outputs = [
        layers.StringLookup(vocabulary=["red"])(colour),
        layers.IntegerLookup(vocabulary=[7])(number),
    ]
    model = keras.Model({"number": number, "colour": colour}, outputs)
    for tensor, dtype, known in ((colour, "string", "red"), (number, "int64", 7)):
        assert samples_of(model, tensor, TensorSpec("x", (1,), dtype)) == (known,)


def test_a_vocabulary_that_cannot_be_read_is_none(
    keras: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = keras.layers.StringLookup(vocabulary=["red"])
    monkeypatch.setattr(lookup, "get_vocabulary", fail)

    assert of_layers(keras, "string", lookup) == ()


def fail(**_: Any) -> Any:
    raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
