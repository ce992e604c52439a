"""How clearly a network decides: distances between values that it compares, or from rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final


def margins_of(graph: Any, rows: int) -> Any:
    """Return the least distance between two values compared in each row; a tensor of `[rows]`.

    Distances are relative to the largest value that takes part. They are infinite where nothing is
    compared or rounded. Only operations of the graph itself are looked at, not those in loops and
    functions.
    """
    import tensorflow as tf

    found = [tf.fill([rows], tf.constant(float("inf"), tf.float64))]
    for operation in graph.get_operations():
        distance = DISTANCES.get(operation.type)
        if distance and _has_rows(operation.inputs[0], rows):
            found.append(_least_by_row(distance(operation), operation.inputs[0], rows))
    return tf.reduce_min(tf.stack(found), axis=0)


def _has_rows(values: Any, rows: int) -> bool:
    return values.dtype.is_floating and bool(values.shape.rank) and values.shape[0] == rows


def _least_by_row(distances: Any, values: Any, rows: int) -> Any:
    """Return the smallest of the distances of each row, relative to the largest finite value."""
    import tensorflow as tf

    size = tf.abs(tf.cast(values, tf.float64))
    scale = tf.reduce_max(tf.where(tf.math.is_finite(size), size, 0.0))
    relative = tf.cast(distances, tf.float64) / tf.maximum(scale, 1e-30)
    infinity = tf.constant(float("inf"), tf.float64)
    clear = tf.where(tf.math.is_nan(relative), infinity, relative)
    return tf.reduce_min(tf.reshape(clear, [rows, -1]), axis=1)


def _to_next_larger(operation: Any, sign: int = 1) -> Any:
    """The distance from the largest value to the second, of `ArgMax`."""
    import tensorflow as tf

    axis = int(tf.get_static_value(operation.inputs[1]))
    scores = tf.experimental.numpy.moveaxis(sign * operation.inputs[0], axis, -1)
    return _gaps(scores, 1)


def _to_next_smaller(operation: Any) -> Any:
    return _to_next_larger(operation, -1)


def _between_places(operation: Any) -> Any:
    """The distances from one of the `k` largest values to the next, of `TopKV2`."""
    import tensorflow as tf

    return _gaps(operation.inputs[0], int(tf.get_static_value(operation.inputs[1])))


def _gaps(scores: Any, count: int) -> Any:
    """Return the distances between the `count` largest values and the one after each."""
    import tensorflow as tf

    ordered = tf.sort(scores, direction="DESCENDING")
    return ordered[..., :-1][..., :count] - ordered[..., 1:][..., :count]


def _between_both(operation: Any) -> Any:
    import tensorflow as tf

    return tf.abs(operation.inputs[0] - operation.inputs[1])


def _to_other_integer(operation: Any) -> Any:
    """The distance to where `Round` answers the next integer."""
    import tensorflow as tf

    values = operation.inputs[0]
    return tf.abs(values - tf.floor(values) - 0.5)


def _to_next_integer(operation: Any) -> Any:
    """The distance to the next integer, of what makes integers; integers themselves are clear."""
    import tensorflow as tf

    values = operation.inputs[0]
    distances = tf.abs(values - tf.round(values))
    return tf.where(tf.equal(distances, 0), _infinity_like(values), distances)


def _to_next_integer_of_cast(operation: Any) -> Any:
    if operation.outputs[0].dtype.is_integer:
        return _to_next_integer(operation)
    return _infinity_like(operation.inputs[0])


def _infinity_like(values: Any) -> Any:
    import tensorflow as tf

    return tf.fill(tf.shape(values), tf.constant(float("inf"), values.dtype))


DISTANCES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "ArgMax": _to_next_larger,
    "ArgMin": _to_next_smaller,
    "TopKV2": _between_places,
    **dict.fromkeys(("Round", "Rint"), _to_other_integer),
    **dict.fromkeys(("Floor", "Ceil"), _to_next_integer),
    "Cast": _to_next_integer_of_cast,
    **dict.fromkeys(("Greater", "GreaterEqual", "Less", "LessEqual"), _between_both),
}
