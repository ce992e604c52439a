"""A network that TensorFlow computes, called once per batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from model.engines.batch_engine import BatchEngine
from model.signature import Signature


def set_threads(count: int) -> None:
    """Set how many threads TensorFlow computes with, before it computes anything; 0: it decides."""
    if not count:
        return
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)


Run = Callable[[list[np.ndarray]], Sequence[Any]]
"""Computes the outputs of a batch, as tensors, from its inputs in the signature's order."""


class TensorFlowEngine(BatchEngine):
    """A network that TensorFlow computes.

    Attributes:
        function: the concrete function that is called, whose arguments and results are flat; None
            if there is none.
    """

    name = "tensorflow"
    function: Any = None

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
        super().__init__(signature, fixed_rows=fixed_rows, is_half_precision=is_half_precision)
        self._owner = owner
        self._run = run

    @classmethod
    def traced(
        cls,
        function: Any,
        signature: Signature,
        *,
        owner: object = None,
        fixed_rows: int | None = None,
        captured: Sequence[Any] | None = None,
    ) -> Self:
        """Call a concrete function, whose arguments and results are flat and in this order.

        `captured` are the arguments after the inputs, if not those that the function has captured.
        """
        half = _is_half_precision(function)
        weights = function.captured_inputs if captured is None else captured
        run = _operation(function, weights, fuse=not half)
        engine = cls(run, signature, owner=owner, fixed_rows=fixed_rows, is_half_precision=half)
        engine.function = function
        return engine

    def _outputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [output.numpy() for output in self._run(list(arrays))]


def as_array_like(answer: Any) -> Any:
    """Turn an output into one that numpy can hold: neither sparse nor bfloat16."""
    import tensorflow as tf

    if isinstance(answer, tf.SparseTensor):
        answer = tf.sparse.to_dense(answer)
    return tf.cast(answer, tf.float32) if answer.dtype == tf.bfloat16 else answer


def _operation(traced: Any, weights: Sequence[Any], *, fuse: bool) -> Run:
    """Return what calls a traced function with the arrays of one batch.

    The call is the operation that TensorFlow itself makes of a function's call: to go through
    the function checks every argument again in Python, which takes longer than a small network.
    """
    import tensorflow as tf

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
