"""Input that is smaller than the window of a convolution or of pooling."""

from __future__ import annotations

from typing import Any

CONVOLUTIONS = {"Conv2D", "Conv3D", "DepthwiseConv2dNative"}  # that of one dimension is Conv2D too
POOLS = {"AvgPool", "AvgPool3D", "MaxPool", "MaxPool3D"}

SMALLER_THAN_WINDOW = "the window of a layer takes"  # how the error begins


def refuse_smaller_input(graph: Any) -> None:
    """Have a function that is being traced fail where input is smaller than a window over it.

    By itself TensorFlow 2.21 (oneDNN) may then answer with what happens to be in memory, which can
    be what somebody else has sent, or end the process. Input of a size that is known needs no
    check: Keras has made it.
    """
    for operation in graph.get_operations():
        if operation.type in CONVOLUTIONS | POOLS and operation.get_attr("padding") == b"VALID":
            _refuse(operation)


def _refuse(operation: Any) -> None:
    import tensorflow as tf

    given = operation.inputs[0]
    for axis, window in _windows(operation):
        if given.shape[axis] is None and window is not None and window > 1:
            size = tf.shape(given)[axis]
            text = f"{SMALLER_THAN_WINDOW} {window} at least, and is given"
            check = tf.debugging.Assert(size >= window, [text, size])
            # First of all: the operation itself could be the end. There is no public name for it.
            operation._add_control_input(check)


def _windows(operation: Any) -> list[tuple[int, int | None]]:
    """The axes that a window slides over, with its size along each."""
    first = 2 if operation.get_attr("data_format").startswith(b"NC") else 1
    if operation.type in POOLS:
        sizes = operation.get_attr("ksize")
        return [(axis, sizes[axis]) for axis in range(first, first + len(sizes) - 2)]
    dilations = operation.get_attr("dilations")
    return [
        (axis, None if taps is None else (taps - 1) * dilations[axis] + 1)
        for axis, taps in enumerate(operation.inputs[1].shape[:-2], first)
    ]
