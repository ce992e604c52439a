"""Makes a converted `.onnx` file one that says all of itself: names, shapes, and its description.

The inputs and outputs get the names of the signature, so that other programs find them, too; what
ONNX has no words for, such as the range of ids, is in the file's metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from model.engines.batch_engine import BatchEngine
from model.engines.description import Description
from model.engines.nan_rows import NanRows
from model.engines.onnx import OnnxEngine
from model.signature import TensorSpec

KEY: Final = "keras-batch-server"  # of the metadata
ROWS: Final = "rows"  # the name of the first dimension


def describe(path: Path, description: Description) -> None:
    """Write a description into a file, with the names and shapes of its signature."""
    import onnx

    made = onnx.load(str(path))
    description = _with_names_of_signature(made.graph, description)
    _declare_shapes(made.graph.input, description.inputs, description.signature.inputs, description)
    _declare_shapes(
        made.graph.output, description.outputs, description.signature.outputs, description
    )
    _write(path, made, description)


def answer_with_nan(path: Path, values: Sequence[float]) -> None:
    """Have a file that has a description answer NaN to rows of input with these values."""
    import onnx

    made = onnx.load(str(path))
    [text] = [each.value for each in made.metadata_props if each.key == KEY]
    _write(path, made, replace(Description.of_json(text), answered_nan=tuple(values)))


def _write(path: Path, made: Any, description: Description) -> None:
    import onnx

    onnx.helper.set_model_props(made, {KEY: description.as_json()})
    path.write_bytes(made.SerializeToString())


def description_in(session: Any) -> Description | None:
    """Return the description in a file; None for one that others have made. Raises ValueError."""
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    return None if text is None else Description.of_json(text)


def engine_of(session: Any, description: Description) -> BatchEngine:
    """Return the engine that computes a file as it is described."""
    engine = OnnxEngine(
        session,
        description.signature,
        inputs=description.inputs,
        outputs=description.outputs,
        fixed_rows=description.fixed_rows,
    )
    engine.padding_hint = description.padding_hint
    values = description.answered_nan
    return NanRows(engine, values) if values else engine


def _with_names_of_signature(graph: Any, description: Description) -> Description:
    """Rename inputs and outputs; one whose name the graph has already keeps the one it has."""
    taken = set(_names_in(graph))
    names: dict[str, str] = {}
    signature = description.signature
    for known, specs in (
        (description.inputs, signature.inputs),
        (description.outputs, signature.outputs),
    ):
        for old, spec in zip(known, specs, strict=True):
            if old in taken and old not in names and spec.name not in taken:
                names[old] = spec.name
                taken.add(spec.name)
    for each in _graphs_in(graph):
        _rename(each, names)
    return replace(
        description,
        inputs=tuple(names.get(name, name) for name in description.inputs),
        outputs=tuple(names.get(name, name) for name in description.outputs),
    )


def _graphs_in(graph: Any) -> Iterator[Any]:
    """Yield a graph, and those of its branches and loops, which use names of the outer one."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _graphs_in(inner)


def _names_in(graph: Any) -> Iterator[str]:
    for each in _graphs_in(graph):
        for declared in (*each.input, *each.output, *each.initializer):
            yield declared.name
        for node in each.node:
            yield from (*node.input, *node.output)


def _rename(graph: Any, names: dict[str, str]) -> None:
    for node in graph.node:
        for side in (node.input, node.output):
            for place, name in enumerate(side):
                if name in names:
                    side[place] = names[name]
    for declared in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        declared.name = names.get(declared.name, declared.name)


def _declare_shapes(
    declared: Any, names: Sequence[str], specs: Sequence[TensorSpec], description: Description
) -> None:
    """Have the inputs or outputs of a graph declare what the signature says of their shapes."""
    of_names = dict(zip(names, specs, strict=True))
    for each in declared:
        spec = of_names[each.name]
        open_sizes = [f"{spec.name}_{axis}" for axis in range(1, spec.rank + 1)]
        sizes = [
            name if size is None else size
            for size, name in zip(spec.shape, open_sizes, strict=True)
        ]
        shape = each.type.tensor_type.shape
        shape.ClearField("dim")
        for size in (description.fixed_rows or ROWS, *sizes):
            dimension = shape.dim.add()
            if isinstance(size, int):
                dimension.dim_value = size
            else:
                dimension.dim_param = size
