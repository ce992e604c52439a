"""What a SavedModel may do: an allow-list of operations, and files that stay in its folder.

Looked at is what runs when the model is loaded or called: the served signature, the initializers
of tables, the functions that restore. Every SavedModel holds SaveV2 and RestoreV2 for its
variables, which TensorFlow replaces by its own when it loads. This catches accidents and known
attacks; TensorFlow itself is no sandbox.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from model.formats.composite import check_dense
from model.formats.files import AGAIN, SAVED_MODEL_FILE, ModelError, readable
from model.formats.graphs import base_name, functions_in
from model.formats.known_names import known_names
from model.signature import DEFAULT_NAME

SERVE = "serve"
OF_TABLES = {"_create_resource", "_initialize", "_destroy_resource"}
INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op", "table_initializer")
LOCAL_VARIABLES = "local_variables"
INIT_SIGNATURE = "__saved_model_init_op"
TRAIN_SIGNATURE = "__saved_model_train_op"
# Where TensorFlow 1 restores: by operations of the file, from the name that it is given.
OF_RESTORE = {"RestoreV2", "Restore", "RestoreSlice"}
TEXT_FILES = {"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"}
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
DAMAGED = f"its saved_model.pb is cut off or damaged; {AGAIN}"
TRUST = "use it only if you trust it, and set model.allow_code: true"


class Checked(NamedTuple):
    """What to load of a SavedModel.

    Attributes:
        signature: the name of the signature to serve.
        tags: those of the graph that was checked; None: there is no other graph.
    """

    signature: str
    tags: list[str] | None


def check_saved_model(folder: Path | str, signature: str = "", allow_code: bool = False) -> Checked:
    """Raise ModelError unless a SavedModel only computes, and reads no file but its own.

    `signature`: the one to serve; "": `serving_default`, or the only one. `allow_code`: any
    operation is allowed, but files still have to stay in the folder.
    """
    folder = Path(folder)
    with readable(folder):
        _check_files(folder)
        meta_graph, has_objects, tags = _meta_graph(folder)
    _check_assets(folder, meta_graph)
    name = _signature_name(folder, meta_graph, signature)
    try:
        check_dense(folder, meta_graph, name)
        if not allow_code:
            _Walk(folder, meta_graph, has_objects).check(name)
    except IndexError as error:  # an input or an object that is named, and not there
        raise ModelError(folder, DAMAGED) from error
    return Checked(name, tags)


def _signature_name(folder: Path, meta_graph: Any, wanted: str) -> str:
    """Return the name of the signature to serve; raises ModelError when there is none."""
    signatures: dict[str, Any] = {
        name: definition
        for name, definition in meta_graph.signature_def.items()
        if name not in {INIT_SIGNATURE, TRAIN_SIGNATURE}
    }
    names = sorted(signatures)
    useful = [name for name in names if signatures[name].outputs]
    if not wanted and DEFAULT_NAME not in useful and len(useful) == 1:
        return useful[0]
    name = wanted or DEFAULT_NAME
    if name in signatures:
        return name
    if not names:
        export = "`tf.saved_model.save(module, folder, signatures=...)` or `model.export(folder)`"
        raise ModelError(folder, f"has no signature; export it with {export}")
    known = ", ".join(names)
    raise ModelError(
        folder, f"has no signature {name!r} (it has: {known}); set model.signature to one of them"
    )


def _check_files(folder: Path) -> None:
    """Raise ModelError for links that leave the folder, and for what is no file."""
    inside = folder.resolve()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_symlink():
            target = Path(os.path.realpath(path))  # `resolve` raises for a link to itself
            if not target.is_relative_to(inside):
                why = f"its {name} is a link out of the folder, to {target}"
                raise ModelError(folder, f"{why}; copy the file into the folder")
            if not target.exists():
                raise ModelError(folder, f"its {name} is a link to nothing; {AGAIN}")
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ModelError(folder, f"its {name} is neither a file nor a folder; remove it")


def _meta_graph(folder: Path) -> tuple[Any, bool, list[str] | None]:
    """Return the graph for serving, whether TensorFlow restores its objects, and its tags.

    Where it does not, because TensorFlow 1 wrote it, it runs the graph instead. The tags are None
    where there is no other graph. Raises OSError.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    content = (folder / SAVED_MODEL_FILE).read_bytes()
    try:
        found = saved_model_pb2.SavedModel.FromString(content)
    except Exception as error:  # protobuf's own, a library that nothing else here imports
        raise ModelError(folder, DAMAGED) from error
    graphs = [one for one in found.meta_graphs if set(one.meta_info_def.tags) == {SERVE}]
    if not graphs and len(found.meta_graphs) == 1:
        graphs = list(found.meta_graphs)
    if not graphs:
        tags = "; ".join(", ".join(one.meta_info_def.tags) for one in found.meta_graphs)
        why = f"has no graph for serving (tags: {tags or 'none'})"
        raise ModelError(folder, f"{why}; export it with `model.export(folder)`")
    is_only = len(found.meta_graphs) == 1
    tags_to_load = None if is_only else [SERVE]
    return graphs[0], is_only and graphs[0].HasField("object_graph_def"), tags_to_load


def _check_assets(folder: Path, meta_graph: Any) -> None:
    for asset in meta_graph.asset_file_def:  # links out of the folder have been refused before
        name = PurePosixPath(asset.filename)
        if name.is_absolute() or ".." in name.parts:
            why = f"its asset {asset.filename!r} is outside of its folder"
            raise ModelError(folder, f"{why}; export the model again")


class _Call(NamedTuple):
    """A function that runs, and for each of its arguments whether it is the path of an asset."""

    name: str
    assets: tuple[bool, ...]


class _Scope:
    """The nodes of one function, or of the graph around them."""

    def __init__(self, nodes: Iterable[Any], asset_names: Iterable[str]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self._assets = set(asset_names)

    def is_asset(self, reference: str) -> bool:
        """Return whether a node's input is the path of an asset."""
        for _ in self.nodes:
            name = base_name(reference)
            if name in self._assets:
                return True
            node = self.nodes.get(name)
            if node is None or node.op != "Identity" or not node.input:
                return False
            reference = node.input[0]
        return False


class _Walk:
    """Goes through all that runs, from the signature and the initializers on."""

    def __init__(self, folder: Path, meta_graph: Any, has_objects: bool) -> None:
        self.folder = folder
        self.has_objects = has_objects
        self.graph = meta_graph
        self.objects = meta_graph.object_graph_def
        library = meta_graph.graph_def.library.function
        self.functions = {function.signature.name: function for function in library}
        names = known_names()
        self.allowed = names.tensorflow_operations | names.stateful_operations
        self.waiting: list[_Call] = []
        self.seen: set[_Call] = set()

    def check(self, signature: str) -> None:
        """Raise ModelError at the first operation that is not allowed."""
        self._check_graph(signature)
        for node_id in self._functions_that_run(signature) if self.has_objects else ():
            self._add_functions_of(node_id)
        while self.waiting:
            self._check_function(self.waiting.pop())

    def _check_graph(self, signature: str) -> None:
        graph_def = self.graph.graph_def
        assets = [base_name(asset.tensor_info.name) for asset in self.graph.asset_file_def]
        scope = _Scope(graph_def.node, assets)
        self._check_reachable(scope, self._tensors(signature), frozenset())
        if not self.has_objects and self.graph.saver_def.restore_op_name:
            saver = self.graph.saver_def
            self._check_restore(scope, base_name(saver.filename_tensor_name))
            self._check_reachable(scope, [saver.restore_op_name], frozenset(OF_RESTORE))

    def _tensors(self, signature: str) -> Iterator[str]:
        """Yield the tensors and operations of the graph that a call or the start computes."""
        names = [signature] if self.has_objects else [signature, INIT_SIGNATURE]
        for name in names:
            if name in self.graph.signature_def:
                found = self.graph.signature_def[name]
                for info in (*found.outputs.values(), *found.inputs.values()):
                    yield from _names_of(info)
        if self.has_objects:
            return  # TensorFlow 2 starts from the initializers of its objects
        for name in INIT_COLLECTIONS:
            yield from self.graph.collection_def[name].node_list.value
        yield from _initializers(self.graph.collection_def[LOCAL_VARIABLES].bytes_list.value)

    def _check_reachable(self, scope: _Scope, start: Iterable[str], also: frozenset[str]) -> None:
        waiting, seen = [base_name(name) for name in start], set[str]()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in scope.nodes:
                continue
            seen.add(name)
            node = scope.nodes[name]
            self._check_node(node, scope, also)
            waiting += [base_name(reference) for reference in node.input]

    def _check_restore(self, scope: _Scope, filename: str) -> None:
        for node in scope.nodes.values():
            if node.op in OF_RESTORE and base_name(node.input[0]) != filename:
                raise self._error(f"restores from a file that it names itself ({node.name})")

    def _functions_that_run(self, signature: str) -> Iterator[int]:
        nodes = self.objects.nodes
        for index, node in enumerate(nodes):
            for child in node.children:
                if child.local_name in OF_TABLES:
                    yield child.node_id
                if index == 0 and child.local_name == "signatures":
                    yield from (
                        one.node_id
                        for one in nodes[child.node_id].children
                        if one.local_name == signature
                    )
            for saveable in node.saveable_objects.values():
                yield saveable.restore_function

    def _add_functions_of(self, node_id: int) -> None:
        node = self.objects.nodes[node_id]
        names = [*node.function.concrete_functions]
        if node.bare_concrete_function.concrete_function_name:
            names.append(node.bare_concrete_function.concrete_function_name)
        for name in names:
            if name not in self.functions:
                raise self._lacks(name)
            bound = self.objects.concrete_functions[name].bound_inputs
            kinds = [self.objects.nodes[one].WhichOneof("kind") == "asset" for one in bound]
            given = len(self.functions[name].signature.input_arg) - len(kinds)
            self._add(_Call(name, (*[False] * given, *kinds)))

    def _add(self, call: _Call) -> None:
        if call not in self.seen:
            self.seen.add(call)
            self.waiting.append(call)

    def _check_function(self, call: _Call) -> None:
        function = self.functions.get(call.name)
        if function is None:
            raise self._lacks(call.name)
        arguments = [argument.name for argument in function.signature.input_arg]
        pairs = zip(arguments, call.assets, strict=False)
        scope = _Scope(function.node_def, [name for name, is_asset in pairs if is_asset])
        for node in function.node_def:
            self._check_node(node, scope, frozenset())

    def _check_node(self, node: Any, scope: _Scope, also: frozenset[str]) -> None:
        if node.op in self.functions:  # TensorFlow 1 calls a function by its name
            self._add(_Call(node.op, ()))
        elif node.op not in self.allowed and node.op not in also:
            raise self._not_allowed(node.op)
        if node.op in TEXT_FILES and not scope.is_asset(node.input[1]):
            raise self._error("fills a table from a file that is not one of its assets")
        if node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:"):
            raise self._error("prints into a file")
        inputs = [reference for reference in node.input if not reference.startswith("^")]
        for name in functions_in(node):
            assets = map(scope.is_asset, inputs) if node.op in CALLS else ()
            self._add(_Call(name, tuple(assets)))

    def _not_allowed(self, operation: str) -> ModelError:
        from tensorflow.python.framework import op_def_registry

        if op_def_registry.get(operation) is None:
            why = f"needs the operation {operation}, which is not part of TensorFlow"
            return ModelError(self.folder, f"{why}; export the model without it")
        why = f"runs the operation {operation}, which is not among those that only compute"
        return self._error(why)

    def _lacks(self, function: str) -> ModelError:
        return ModelError(self.folder, f"calls the function {function}, which it lacks; {AGAIN}")

    def _error(self, why: str) -> ModelError:
        return ModelError(self.folder, f"{why}; {TRUST}")


def _initializers(variables: Iterable[bytes]) -> Iterator[str]:
    from tensorflow.core.framework import variable_pb2

    for content in variables:
        yield variable_pb2.VariableDef.FromString(content).initializer_name


def _names_of(info: Any) -> Iterator[str]:
    """Yield the tensors that one input or output of a signature consists of."""
    kind = info.WhichOneof("encoding")
    if kind == "coo_sparse":
        sparse = info.coo_sparse
        yield from (sparse.values_tensor_name, sparse.indices_tensor_name)
        yield sparse.dense_shape_tensor_name
    elif kind == "composite_tensor":
        for component in info.composite_tensor.components:
            yield from _names_of(component)
    else:
        yield info.name
