"""The names that a model's file may contain; `list_names.py` wrote the list."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIST = Path(__file__).with_name("known_names.json")
# Layers that load something else: a SavedModel, pickled code, a function of another framework.
LOADS_OTHERS = frozenset(
    {"TFSMLayer", "ReloadedLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
)


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
