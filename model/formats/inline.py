"""Changes operations of a SavedModel, which are in functions within functions.

They get the checks of `refuse_smaller_input`, and XLA no longer compiles them for every new shape.
"""

from __future__ import annotations

import re
from typing import Any

from model.formats.graphs import functions_in
from model.formats.windows import CONVOLUTIONS, POOLS, refuse_smaller_input

COMPILED = "_XlaMustCompile"  # the attribute of functions that XLA compiles
NOT_INLINE = "_noinline"
NEEDS_XLA = re.compile("Xla|Conv3D")  # operations that TensorFlow may have no kernel for


def as_served(traced: Any) -> Any:
    """Return a function with flat arguments as one that can be called with any shapes.

    It refuses input smaller than a window, and XLA compiles none of it that TensorFlow's own
    kernels compute. It is the same function where it needs neither.
    """
    definition = traced.graph.as_graph_def()
    if not (_needs_checks(traced, definition) or _compiled_functions(definition)):
        return traced
    import tensorflow as tf

    graph_def = _inlined(traced, definition)
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


def _inlined(traced: Any, definition: Any) -> Any:
    """Return the graph of a function with the functions that it calls in their places.

    `definition` is that of the graph as it is, and is changed.
    """
    import tensorflow as tf

    # There is no public name for it; TensorFlow freezes functions with it.
    from tensorflow.python.framework.convert_to_constants import _run_inline_graph_optimization

    graph = traced.graph
    # Tables that were loaded before; they would be warned of, and are of no use here.
    graph.clear_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS)
    _leave_uncompiled(definition)
    graph.as_graph_def = lambda: definition  # what the optimization asks for
    try:
        return _run_inline_graph_optimization(traced, False, False)
    finally:
        del graph.as_graph_def


def _leave_uncompiled(definition: Any) -> None:
    """Have TensorFlow itself compute the functions that XLA would compile."""
    functions = _compiled_functions(definition)
    names = {function.signature.name for function in functions}
    for function in functions:
        for attribute in (COMPILED, NOT_INLINE):
            function.attr.pop(attribute, None)
    calls = [definition.node, *(each.node_def for each in definition.library.function)]
    for node in (node for nodes in calls for node in nodes):
        if not names.isdisjoint(functions_in(node)):
            node.attr.pop(COMPILED, None)


def _compiled_functions(definition: Any) -> list[Any]:
    """Return the functions that XLA compiles, and TensorFlow has kernels for."""
    return [
        function
        for function in definition.library.function
        if COMPILED in function.attr
        and not any(NEEDS_XLA.match(node.op) for node in function.node_def)
    ]


def _needs_checks(traced: Any, definition: Any) -> bool:
    if all(None not in tuple(tensor.shape[1:]) for tensor in traced.inputs if tensor.shape.rank):
        return False
    return any(
        node.op in CONVOLUTIONS | POOLS and node.attr["padding"].s == b"VALID"
        for function in definition.library.function
        for node in function.node_def
    )
