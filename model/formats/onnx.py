"""Loads `.onnx` files with ONNX Runtime: TensorFlow is not imported.

What a file contains is checked before ONNX Runtime reads it. A file that `python -m server convert`
has written describes itself (`model.engines.onnx_file`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from model.engines.batch_engine import BatchEngine
from model.engines.description import Description
from model.engines.onnx import OnnxEngine, session_of
from model.engines.onnx_file import description_in, engine_of
from model.formats.declared_rows import check_rows_of_output, rows_of_inputs
from model.formats.files import AGAIN, ModelError, in_one_line
from model.formats.options import LoadOptions
from model.signature import Signature, TensorSpec

MAX_BYTES: Final = 2**31 - 1  # of the file itself: what Protocol Buffers can hold
MAX_RANK: Final = 32
DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})

CODES: Final = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .* failed:")

DTYPES: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(string)": "string",
    **{
        f"tensor({name})": name
        for name in ("bool", "float16", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)))
    },
}


def load(path: Path | str, options: LoadOptions) -> BatchEngine:
    """Load a file; raises ModelError."""
    check_content(Path(path))
    try:
        session = session_of(path, options.threads)
    except Exception as error:  # ONNX Runtime has a class for each of its codes
        why = f"ONNX Runtime cannot load it: {_cause(error)}"
        raise ModelError(path, f"{why}; {AGAIN}") from error
    try:
        if not session.get_inputs() or not session.get_outputs():
            raise ValueError("has no inputs or no outputs; export it again")
        rows = _fixed_rows(session.get_inputs())
        inputs = tuple(_spec(f"its input {each.name}", each) for each in session.get_inputs())
        outputs = tuple(_output_spec(each, rows) for each in session.get_outputs())
        signature = Signature(inputs, outputs)
        description = description_in(session)
        if description is None:
            return OnnxEngine(session, signature, fixed_rows=rows)
        _check_description(description, signature, rows)
        return engine_of(session, description)
    except ValueError as error:
        raise ModelError(path, str(error)) from error


def _check_description(description: Description, declared: Signature, rows: int | None) -> None:
    """Raise ValueError unless the description in a file is of the network that it holds."""
    wanted = description.signature
    inputs = dict(zip(description.inputs, wanted.inputs, strict=True))
    outputs = dict(zip(description.outputs, wanted.outputs, strict=True))
    names = {spec.name for spec in declared.outputs}
    fits = (
        rows == description.fixed_rows
        and names == outputs.keys()
        and all(_fits(spec, inputs.get(spec.name)) for spec in declared.inputs)
        and all(_fits(spec, outputs[spec.name]) for spec in declared.outputs)
    )
    if not fits:
        raise ValueError("its description does not fit its inputs and outputs; convert it again")


def _fits(declared: TensorSpec, described: TensorSpec | None) -> bool:
    return described is not None and (declared.shape, declared.dtype) == (
        described.shape,
        described.dtype,
    )


def _cause(error: Exception) -> str:
    """Return what ONNX Runtime says, without its codes and the path."""
    return in_one_line(Exception(CODES.sub("", str(error))))


def check_content(path: Path) -> None:
    """Raise ModelError unless the file holds a network that may be loaded."""
    import onnx

    size = path.stat().st_size
    if size > MAX_BYTES:
        why = f"has {size:,} bytes, and at most {MAX_BYTES:,} can be read"
        raise ModelError(path, f"{why}; save its weights as external data beside it")
    try:
        model = onnx.load(str(path), load_external_data=False)
        nodes = list(_nodes(model))
    except Exception as error:  # of Protocol Buffers, and of what it says of itself
        why = f"is no .onnx file that can be read: {in_one_line(error)}"
        raise ModelError(path, f"{why}; {AGAIN}") from error
    _check_operations(path, model, nodes)
    for tensor in _tensors(model, nodes):
        _check_tensor(path, tensor)


def _nodes(model: Any) -> Iterator[Any]:
    """Yield all nodes, also of functions and of graphs in branches and loops.

    Protocol Buffers limits how deep graphs are nested.
    """
    waiting = [model.graph.node, *(each.node for each in model.functions)]
    while waiting:
        for node in waiting.pop():
            yield node
            waiting += [graph.node for graph in _graphs_of(node)]


def _graphs_of(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _check_operations(path: Path, model: Any, nodes: list[Any]) -> None:
    own = {(each.domain, each.name) for each in model.functions}
    for node in nodes:
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            what = f"contains the operation {node.op_type} of {node.domain}"[:160]
            why = f"{what}, which needs a library of its own"
            raise ModelError(path, f"{why}; export it with the operations of ONNX alone")


def _tensors(model: Any, nodes: list[Any]) -> Iterator[Any]:
    """Yield all constants, wherever they stand."""
    graphs = [model.graph, *(graph for node in nodes for graph in _graphs_of(node))]
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(path: Path, tensor: Any) -> None:
    import onnx

    what = f"its constant {tensor.name[:80]}"
    if len(tensor.dims) > MAX_RANK or any(size < 0 for size in tensor.dims):
        raise ModelError(path, f"{what} has an impossible shape; {AGAIN}")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        _check_external(path, what, tensor)
    elif tensor.HasField("raw_data"):
        count = math.prod(tensor.dims)
        if count > 4 * len(tensor.raw_data) and count > 8:  # 2-bit types have 4 in a byte
            raise ModelError(path, f"{what} claims more numbers than it has; {AGAIN}")


def _check_external(path: Path, what: str, tensor: Any) -> None:
    """Raise ModelError unless the data of a tensor lie in the folder of the file."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name = entries.get("location", "")
    folder = path.parent.resolve()
    why = f"{what} is in {name[:120]!r}"
    if not name or "\0" in name or Path(name).is_absolute():
        raise ModelError(path, f"{why}; only files in the folder of the model are read")
    file = (folder / name).resolve()
    if not file.is_relative_to(folder):
        raise ModelError(path, f"{why}, outside the folder; only files in it are read")
    if not file.is_file():
        raise ModelError(path, f"{why}, which is missing; copy it beside the model")
    try:
        start, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    except ValueError:
        start = length = -1
    if start < 0 or length < 0 or start + length > file.stat().st_size:
        raise ModelError(path, f"{why}, which is shorter than it should be; {AGAIN}")


def _fixed_rows(inputs: list[Any]) -> int | None:
    """Return the number of rows that inputs are declared for; None: any number."""
    advice = "export it with a variable first dimension of each"
    return rows_of_inputs((_first(each) for each in inputs if each.shape), advice)


def _output_spec(declared: Any, rows: int | None) -> TensorSpec:
    what = f"its output {declared.name}"
    spec = _spec(what, declared)
    advice = "export it with outputs that have a row for each row of input"
    check_rows_of_output(what, _first(declared), rows, advice)
    return spec


def _first(declared: Any) -> int | None:
    """Return the first dimension of an input or output; None for a symbol, which may vary."""
    first = declared.shape[0]
    return first if isinstance(first, int) else None


def _spec(what: str, declared: Any) -> TensorSpec:
    """Describe an input or output; raises ValueError for one that cannot be served."""
    dtype = DTYPES.get(declared.type)
    if dtype is None:
        only = "only tensors of numbers, bool and strings are served"
        why = f"{what} is of type {declared.type}, and {only}"
        raise ValueError(f"{why}; export it without (scikit-learn: zipmap=False)")
    if not declared.shape:
        why = f"{what} is a single value, or declares no shape"
        raise ValueError(f"{why}; export it with a first dimension for the rows")
    sizes = tuple(size if isinstance(size, int) else None for size in declared.shape[1:])
    return TensorSpec(declared.name, sizes, dtype)
