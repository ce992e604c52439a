"""What a kind of model is: a function that builds one, and the formats that can hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

KERAS, H5, SAVED_MODEL = "keras", "h5", "saved_model"
ALL = (KERAS, H5, SAVED_MODEL)

# Their weights are what they have adapted to, and more is made of them than can be set again.
ADAPTED = {"Normalization", "Discretization", "StringLookup", "IntegerLookup", "TextVectorization"}


class Built(NamedTuple):
    """A model, and rows for it, structured as the model takes them.

    `eager` models cannot be traced by Keras: TensorFlow has no scopes of their names.
    """

    model: Any
    rows: Any
    eager: bool = False


Make = Callable[[Any], Built]


class Kind(NamedTuple):
    """A kind of model.

    Attributes:
        make: builds it with the library that it is given: `keras` or `tf_keras`.
        formats: in which Keras 3 can save it and load it again. What it writes as `.h5`
            otherwise, it may not be able to read.
        twin: in which Keras 2 can.
    """

    make: Make
    formats: Sequence[str]
    twin: Sequence[str]


class Case(NamedTuple):
    """One kind in one format of one library; it is loaded, or else it may be refused."""

    kind: str
    library: str
    format: str
    may_be_refused: bool = False

    def __str__(self) -> str:
        return f"{self.kind}-{'' if self.library == 'keras' else 'keras2_'}{self.format}"


class Named(NamedTuple):
    """Arrays in the order of the model, and the lists of names that they may have in a file."""

    arrays: list[np.ndarray]
    names: list[list[str]]

    def in_order_of(self, names: Sequence[str]) -> list[np.ndarray]:
        """Return the arrays as a signature orders them; in the model's order if names differ."""
        for own in self.names:
            if set(names) == set(own):
                return [self.arrays[own.index(name)] for name in names]
        return self.arrays


KINDS: dict[str, Kind] = {}


def kind(formats: Sequence[str] = ALL, twin: Sequence[str] = ()) -> Callable[[Make], Make]:
    """Return a decorator that adds a function to KINDS under its name."""

    def add(make: Make) -> Make:
        assert make.__name__ not in KINDS
        KINDS[make.__name__] = Kind(make, formats, twin)
        return make

    return add


def cases() -> list[Case]:
    """Return every kind in every format, of Keras 3 and of Keras 2."""
    found = []
    for name, each in KINDS.items():
        found += [Case(name, "keras", form) for form in each.formats]
        if each.formats and H5 not in each.formats:
            found.append(Case(name, "keras", H5, may_be_refused=True))
        found += [Case(name, "tf_keras", form) for form in each.twin]
    return found


@lru_cache(maxsize=1)
def build(name: str, library: str) -> tuple[Built, Named, Named]:
    """Build a kind, the same at every call; return it, its inputs and what it answers to them."""
    import importlib

    keras = importlib.import_module(library)
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    built = KINDS[name].make(keras)
    shift_small_weights(built.model)
    inputs = named(built.rows, [tensor.name for tensor in built.model.inputs])
    outputs = named(answer_of(built), list(getattr(built.model, "output_names", [])))
    return built, inputs, outputs


def answer_of(built: Built) -> Any:
    """Return what the model answers to all rows in one call, in the structure of its outputs."""
    rows = as_constants(built.rows)
    if built.eager:
        return built.model(rows, training=False)
    answer = built.model.predict(rows, batch_size=len(leaves_of(rows)[0][1]), verbose=0)
    for layer in built.model._flatten_layers():
        if getattr(layer, "stateful", False):
            (getattr(layer, "reset_state", None) or layer.reset_states)()
    return answer


def shift_small_weights(model: Any) -> None:
    """Add to biases, scales and averages, most of which begin as zeros or ones."""
    random = np.random.default_rng(3)
    kept = {
        id(weight)
        for layer in model._flatten_layers()
        if type(layer).__name__ in ADAPTED
        for weight in layer.weights
    }
    for weight in model.weights:
        if id(weight) not in kept and len(weight.shape) == 1 and "float32" in str(weight.dtype):
            shift = 0.1 * np.abs(random.standard_normal(tuple(weight.shape)))
            weight.assign(weight + shift.astype("float32"))


def as_constants(rows: Any) -> Any:
    """Make TensorFlow's tensors of all arrays in a structure."""
    import tensorflow as tf

    return tf.nest.map_structure(tf.constant, rows)


def named(structure: Any, names: list[str]) -> Named:
    """Return the arrays in a structure, with their paths in it and with `names`."""
    leaves = dict(leaves_of(structure))
    return Named([np.asarray(leaf) for leaf in leaves.values()], [list(leaves), names])


def leaves_of(structure: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return what a structure holds, with the path of each: `a/b`, `a/0`; dicts in sorted order."""
    if isinstance(structure, Mapping):
        items = [(str(key), structure[key]) for key in sorted(structure)]
    elif isinstance(structure, list | tuple):
        items = [(str(index), each) for index, each in enumerate(structure)]
    else:
        return [(path, structure)]
    prefix = f"{path}/" if path else ""
    return [leaf for key, each in items for leaf in leaves_of(each, prefix + key)]
