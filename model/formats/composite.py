"""Ragged and sparse inputs and outputs of SavedModels, which are not served.

The signature of a SavedModel has each input that is ragged or sparse as several plain ones: its
values, and where they belong. Only the function that the signature calls still says what they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.formats.files import ModelError
from model.formats.graphs import functions_in

WHAT_TO_DO = {
    "ragged": "takes padded rows and calls `tf.RaggedTensor.from_tensor`",
    "sparse": "takes dense rows and calls `tf.sparse.from_dense`",
}


def check_dense(folder: Path, meta_graph: Any, signature: str) -> None:
    """Raise ModelError for a ragged or sparse input, and for a ragged output or a like one."""
    definition = meta_graph.signature_def[signature]
    of_tensorflow_1 = ((name, _kind_of(info)) for name, info in definition.inputs.items())
    for name, kind in (*of_tensorflow_1, *_inputs_of_objects(meta_graph, signature)):
        if kind:
            why = f"its input {name} is {kind}"
            raise ModelError(folder, f"{why}; export a signature that {WHAT_TO_DO[kind]}")
    for name, info in definition.outputs.items():
        if info.WhichOneof("encoding") == "composite_tensor":  # a sparse one becomes dense
            why = f"its output {name} is {_kind_of(info) or 'made of several tensors'}"
            dense = "a dense tensor, such as its `to_tensor()`"
            raise ModelError(folder, f"{why}; export a signature that returns {dense}")


def _kind_of(info: Any) -> str:
    """Return "ragged", "sparse" or "", of an input or output of a signature."""
    if info.WhichOneof("encoding") == "coo_sparse":
        return "sparse"
    return _kind(info.composite_tensor.type_spec)


def _kind(spec: Any) -> str:
    kinds = {spec.RAGGED_TENSOR_SPEC: "ragged", spec.SPARSE_TENSOR_SPEC: "sparse"}
    return kinds.get(spec.type_spec_class, "")


def _inputs_of_objects(meta_graph: Any, signature: str) -> Iterator[tuple[str, str]]:
    """Yield the first ragged or sparse input of a signature of TensorFlow 2, and its kind."""
    objects = meta_graph.object_graph_def
    for caller in _signature_functions(objects, signature):
        for function in _called(meta_graph, caller.concrete_function_name):
            if function in objects.concrete_functions:
                given = objects.concrete_functions[function].canonicalized_input_signature
                kinds = list(_kinds_in(given))
                place = next((place for place, kind in enumerate(kinds) if kind), None)
                if place is not None and place < len(caller.argument_keywords):
                    yield caller.argument_keywords[place], kinds[place]


def _signature_functions(objects: Any, signature: str) -> Iterator[Any]:
    for child in objects.nodes[0].children if objects.nodes else ():
        if child.local_name == "signatures":
            for one in objects.nodes[child.node_id].children:
                if one.local_name == signature:
                    yield objects.nodes[one.node_id].bare_concrete_function


def _called(meta_graph: Any, name: str) -> Iterator[str]:
    for function in meta_graph.graph_def.library.function:
        if function.signature.name == name:
            for node in function.node_def:
                yield from functions_in(node)


def _kinds_in(value: Any) -> Iterator[str]:
    """Yield the kind of each tensor in the arguments of a function; "" of a dense one."""
    match value.WhichOneof("kind"):
        case "tensor_spec_value" | "bounded_tensor_spec_value":
            yield ""
        case "type_spec_value":
            yield _kind(value.type_spec_value)
        case "tuple_value" | "list_value" as kind:
            for item in getattr(value, kind).values:
                yield from _kinds_in(item)
        case "dict_value":
            for key in sorted(value.dict_value.fields):
                yield from _kinds_in(value.dict_value.fields[key])
        case "named_tuple_value":
            for pair in value.named_tuple_value.values:
                yield from _kinds_in(pair.value)
