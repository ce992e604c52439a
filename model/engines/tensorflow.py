"""A network that TensorFlow computes, called once per batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from model.engines.interface import EagerEngine
from model.signature import Signature
from model.tensors import Rows, Tensors, View, merge, split


def set_threads(count: int) -> None:
    """Set how many threads TensorFlow computes with, before it computes anything; 0: it decides."""
    if not count:
        return
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)


Run = Callable[[list[np.ndarray]], Sequence[Any]]
"""Computes the outputs of a batch, as tensors, from its inputs in the signature's order."""


class TensorFlowEngine:
    """A network that TensorFlow computes.

    Attributes:
        signature: what it takes and returns, in its own order.
        fixed_rows: the number of rows that every call has; None: any number. Fewer are filled up
            with copies of the last row, and the answers to those are dropped.
        is_half_precision: whether it computes with 16 bits anywhere.
        eager: the same network called layer by layer, if this one is traced from Keras.
    """

    eager: EagerEngine | None = None

    def __init__(
        self,
        run: Run,
        signature: Signature,
        *,
        owner: object = None,
        fixed_rows: int | None = None,
        is_half_precision: bool = False,
    ) -> None:
        """`owner` keeps the variables alive, which a traced function alone does not."""
        self.signature = signature
        self.fixed_rows = fixed_rows
        self.is_half_precision = is_half_precision
        self._owner = owner
        self._names = [spec.name for spec in signature.inputs]
        self._output_names = [spec.name for spec in signature.outputs]
        self._run = run

    @classmethod
    def traced(
        cls,
        function: Any,
        signature: Signature,
        *,
        owner: object = None,
        fixed_rows: int | None = None,
    ) -> TensorFlowEngine:
        """Call a concrete function, whose arguments and results are flat and in this order."""
        half = _is_half_precision(function)
        run = _operation(function, fuse=not half)
        return cls(run, signature, owner=owner, fixed_rows=fixed_rows, is_half_precision=half)

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Call the network once: the inputs in the signature's order, and so the outputs.

        All share their first axis, which may have any length, or up to `fixed_rows`.
        """
        if self.fixed_rows is not None:
            return self._call_filled_up(arrays, self.fixed_rows)
        return [output.numpy() for output in self._run(list(arrays))]

    def _call_filled_up(self, arrays: Sequence[np.ndarray], fixed: int) -> list[np.ndarray]:
        rows = len(arrays[0])
        if rows > fixed:
            raise ValueError(f"{rows} rows where the network takes {fixed}")
        filled_up = [filled_up_to(fixed, array) for array in arrays]
        outputs = [output.numpy() for output in self._run(filled_up)]
        return [output[:rows] if len(output) == fixed else output for output in outputs]

    def predict(self, parts: Sequence[Rows]) -> list[View]:
        """Answer `parts`, all of one `row_shape`, by ONE call of the network.

        Arrays have the names, shapes and dtypes of the signature, and so have the answers.
        Raises RowCountMismatch when the network does not answer one row for each.
        """
        batch = merge(parts)
        outputs = self.call([batch.arrays[name] for name in self._names])
        answer = Tensors(dict(zip(self._output_names, outputs, strict=True)))
        return split(answer, [len(part) for part in parts])


def as_array_like(answer: Any) -> Any:
    """Turn an output into one that numpy can hold: neither sparse nor bfloat16."""
    import tensorflow as tf

    if isinstance(answer, tf.SparseTensor):
        answer = tf.sparse.to_dense(answer)
    return tf.cast(answer, tf.float32) if answer.dtype == tf.bfloat16 else answer


def filled_up_to(count: int, array: np.ndarray) -> np.ndarray:
    """Return `count` rows: those of `array`, and then copies of its last one."""
    missing = count - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def _operation(traced: Any, *, fuse: bool) -> Run:
    """Return what calls a traced function with the arrays of one batch.

    The call is the operation that TensorFlow itself makes of a function's call: to go through
    the function checks every argument again in Python, which takes longer than a small network.
    """
    import tensorflow as tf

    weights = traced.captured_inputs
    dtypes = [output.dtype for output in traced.outputs]
    run = tf.raw_ops.StatefulPartitionedCall
    config = "" if fuse else _without_fusing()
    return lambda inputs: run(args=[*inputs, *weights], Tout=dtypes, f=traced, config_proto=config)


def _is_half_precision(traced: Any) -> bool:
    """Return whether a function computes with 16 bits anywhere."""
    import tensorflow as tf

    operations = traced.graph.get_operations()
    types = {output.dtype for operation in operations for output in operation.outputs}
    return bool(types & {tf.float16, tf.bfloat16})


def _without_fusing() -> bytes:
    """Return a configuration in which TensorFlow does not fuse operations.

    Fused ones round 16 bits otherwise: answers moved by up to 1e-3 from those of single calls.
    """
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.remapping = rewriter_config_pb2.RewriterConfig.OFF
    serialized: bytes = config.SerializeToString()
    return serialized
