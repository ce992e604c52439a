"""How many rows a call of a network has that was built for a fixed number (`batch_size=`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from model.engines.interface import Engine
from model.examples import row_kinds
from model.signature import Signature

VARIABLE_SIZES = (4, 1, 16, 64)  # of dimensions that vary, tried in turn
TOLERANCE = 1e-3


def declared_rows(model: Any) -> int | None:
    """Return the number of rows in the shapes of a model's inputs; None if it is open."""
    return next((tensor.shape[0] for tensor in model.inputs if tensor.shape[0] is not None), None)


def answer_alike(free: Engine, fixed: Engine) -> bool:
    """Return whether `free`, which takes any number of rows, answers as `fixed` does.

    Both are called with as many random rows as `fixed` takes, and with one. When `fixed` accepts
    no generated rows, nothing is known: False.
    """
    for arrays in generated_arrays(fixed.signature, fixed.fixed_rows or 1):
        try:
            expected = [fixed.call(some) for some in arrays]
        except Exception:  # noqa: S112  # whatever the network raises for these rows
            continue
        try:
            answers = [free.call(some) for some in arrays]
        except Exception:  # as above; it is what is asked
            return False
        return all(_alike(*pair) for pair in zip(answers, expected, strict=True))
    return False


def generated_arrays(
    signature: Signature, count: int
) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Return what to try in turn: each time `count` rows, and the first of them alone."""
    found = []
    for kind in reversed(list(row_kinds(signature))):  # random rows first
        for size in VARIABLE_SIZES[: 1 if signature.is_fixed else None]:
            rows = kind.rows(signature, count, size)
            arrays = [rows.arrays[spec.name] for spec in signature.inputs]
            found.append((arrays, [array[:1] for array in arrays]))
    return found


def _alike(answer: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> bool:
    return all(map(_equal, answer, expected))


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind not in "fc":
        return bool(np.array_equal(one, other))
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))


def reset_states(model: Any) -> None:
    """Set the states of recurrent layers to zeros, as each of them begins with.

    Keras' own methods fail for several cells in one layer (Keras 3.15.1).
    """
    import tensorflow as tf

    for layer in stateful_layers(model):
        states = tf.nest.flatten(getattr(layer, "states", None) or ())
        if states:
            for state in states:
                state.assign(tf.zeros(state.shape, state.dtype))
        elif len(stateful_layers(layer)) == 1:  # the layer itself: a class of the user
            reset = getattr(layer, "reset_state", None) or getattr(layer, "reset_states", None)
            if reset is not None:
                reset()


def stateful_layers(model: Any) -> list[Any]:
    """Return the layers, of any depth, that keep their state from call to call."""
    return [each for each in model._flatten_layers() if getattr(each, "stateful", False)]
