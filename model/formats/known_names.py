"""The names that a model's file may contain; `list_names.py` wrote the list."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIST = Path(__file__).with_name("known_names.json")
# Layers that load something else: a SavedModel, pickled code, a function of another framework.
LOADS_OTHERS = frozenset(
    {"TFSMLayer", "ReloadedLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
)


KERAS = frozenset({"keras", "tf_keras"})


def is_of_keras(module: str) -> bool:
    """Return whether a module is one of Keras 3 or of Keras 2."""
    return is_inside(module, (*KERAS, "tensorflow.keras"))


def is_inside(module: str, packages: Iterable[str]) -> bool:
    """Return whether a module is one of these packages, or inside of one."""
    return any(module == package or module.startswith(package + ".") for package in packages)


@dataclass(frozen=True)
class KnownNames:
    """The names of the versions it was made from.

    Attributes:
        classes: layers, models, initializers, constraints, regularizers, policies of Keras.
        functions: activations, as a config names them.
        keras_operations: classes that a network of Keras 3 calls, such as `NotEqual`.
        keras_ops: functions of `keras.ops`.
        tensorflow_functions: pure ones, as a TFOpLambda names them, without `compat.v1.`.
        tensorflow_operations: without state, in a graph.
        stateful_operations: variables, tables, random numbers, control flow.
    """

    classes: frozenset[str]
    functions: frozenset[str]
    keras_operations: frozenset[str]
    keras_ops: frozenset[str]
    tensorflow_functions: frozenset[str]
    tensorflow_operations: frozenset[str]
    stateful_operations: frozenset[str]


@cache
def known_names() -> KnownNames:
    found = json.loads(LIST.read_text())
    return KnownNames(**{key: frozenset(found[key]) for key in found if key != "versions"})
