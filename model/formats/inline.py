"""Gives a function of a SavedModel the checks of `refuse_smaller_input`.

They belong where the operations are, and those of a SavedModel are in functions within functions.
"""

from __future__ import annotations

from typing import Any

from model.formats.windows import CONVOLUTIONS, POOLS, refuse_smaller_input


def with_size_checks(traced: Any) -> Any:
    """Return a function with flat arguments as one that refuses input smaller than a window.

    It is the same function where it has no window over input of variable size.
    """
    if not _needs_checks(traced):
        return traced
    import tensorflow as tf

    # There is no public name for it; TensorFlow freezes functions with it.
    from tensorflow.python.framework.convert_to_constants import _run_inline_graph_optimization

    # Tables that were loaded before; they would be warned of, and are of no use here.
    traced.graph.clear_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS)
    graph_def = _run_inline_graph_optimization(traced, False, False)
    given = [tensor.name for tensor in traced.inputs]
    results = [tensor.name for tensor in traced.outputs]

    def call(*arrays: Any) -> list[Any]:
        graph = tf.compat.v1.get_default_graph()
        weights = map(graph.capture, traced.captured_inputs)
        tensors = dict(zip(given, [*arrays, *weights], strict=True))
        answers = tf.graph_util.import_graph_def(
            graph_def, input_map=tensors, return_elements=results, name=""
        )
        refuse_smaller_input(graph)
        return list(answers)

    count = len(given) - len(traced.captured_inputs)
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in traced.inputs[:count]]
    return tf.function(call, autograph=False).get_concrete_function(*specs)


def _needs_checks(traced: Any) -> bool:
    if all(None not in tuple(tensor.shape[1:]) for tensor in traced.inputs if tensor.shape.rank):
        return False
    functions = traced.graph.as_graph_def().library.function
    return any(
        node.op in CONVOLUTIONS | POOLS and node.attr["padding"].s == b"VALID"
        for function in functions
        for node in function.node_def
    )
