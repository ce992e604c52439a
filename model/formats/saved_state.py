"""State in SavedModels: the variables that a call assigns.

A stateful layer is saved with its state in variables, and each call leaves another value in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from model.formats.graphs import base_name, functions_in

# Variables of TensorFlow, each with a value.
State = Sequence[tuple[Any, Any]]

ASSIGNS: Final = re.compile(r"Assign\w*VariableOp|ResourceScatter\w+|ResourceStridedSliceAssign")
RANDOM: Final = re.compile(r"Random|Multinomial|TruncatedNormal|^Rng|^Stateful(Uniform|Standard)")


def state_of(function: Any) -> State:
    """Return the variables that a call of a loaded signature assigns, with their values now.

    Seeds of random layers are left out: the same random answers at each call would hide that
    these layers are switched on.
    """
    import tensorflow as tf

    variables = _assigned_variables(function)
    if _is_random(function):
        variables = [each for each in variables if each.dtype.is_floating]
    return [(each, tf.identity(each)) for each in variables]


def _assigned_variables(function: Any) -> list[Any]:
    graph = function.graph.as_graph_def()
    assigned = _Assignments(graph.library.function).among(graph.node)
    handles = function.captured_inputs
    names = [tensor.op.name for tensor in function.inputs[len(function.inputs) - len(handles) :]]
    changed = {id(handle) for handle, name in zip(handles, names, strict=True) if name in assigned}
    return [variable for variable in function.variables if id(variable.handle) in changed]


def _is_random(function: Any) -> bool:
    graph = function.graph.as_graph_def()
    bodies = (graph.node, *(each.node_def for each in graph.library.function))
    return any(RANDOM.search(node.op) for body in bodies for node in body)


class _Assignments:
    """Finds what is assigned, also in the functions that a graph calls."""

    def __init__(self, functions: Iterable[Any]) -> None:
        self._functions = {function.signature.name: function for function in functions}
        self._known: dict[str, set[int]] = {}

    def among(self, nodes: Iterable[Any]) -> set[str]:
        """Return the nodes that variables come from which other nodes assign."""
        by_name = {node.name: node for node in nodes}
        found: set[str] = set()
        for node in by_name.values():
            inputs = [base_name(each) for each in node.input if not each.startswith("^")]
            if ASSIGNS.fullmatch(node.op):
                found.add(inputs[0])
            for function in (*functions_in(node), node.op):
                found.update(inputs[place] for place in self._arguments(function))
        return {_source(by_name, name) for name in found}

    def _arguments(self, name: str) -> set[int]:
        """Return which arguments a function assigns: -1 is the last one.

        They are the last inputs of the operation that calls it: an `If` has its condition first.
        """
        if name not in self._known and name in self._functions:
            self._known[name] = set()  # a function that calls itself ends here
            function = self._functions[name]
            arguments = [argument.name for argument in function.signature.input_arg]
            assigned = self.among(function.node_def)
            self._known[name] = {
                place - len(arguments)
                for place, argument in enumerate(arguments)
                if argument in assigned
            }
        return self._known.get(name, set())


def _source(nodes: dict[str, Any], name: str) -> str:
    """Return where a variable comes from that operations have passed on."""
    for _ in nodes:
        node = nodes.get(name)
        if node is None or node.op != "Identity" or not node.input:
            break
        name = base_name(node.input[0])
    return name
