"""Converts a frozen network for ONNX Runtime or OpenVINO, into a folder.

The folder holds the network as the engine reads it, with a `Description`: in the metadata of an
`.onnx` file, for OpenVINO in `engine.json`.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from model.engines import libraries, onnx_file
from model.engines.batch_engine import BatchEngine
from model.engines.description import Description
from model.engines.frozen import CannotConvert
from model.engines.nan_rows import NanRows
from model.engines.onnx import OnnxEngine, session_of
from model.engines.openvino import OpenVinoEngine, compiled_model
from model.padding import PaddingHint
from model.signature import Signature

DESCRIPTION: Final = "engine.json"
ONNX_FILE: Final = "model.onnx"
OPENVINO_FILE: Final = "model.xml"
OPSET: Final = 18  # the newest that tf2onnx knows

# What has to be installed for an engine, and how.
LIBRARIES: Final = {
    "onnx": ("onnxruntime", "run `make setup`"),
    "openvino": ("openvino", "run `make engines`"),
}


class Network(NamedTuple):
    """A frozen function, with what is known of the network.

    Attributes:
        function: what `model.engines.frozen.freeze` returned.
    """

    function: Any
    signature: Signature
    fixed_rows: int | None
    padding_hint: PaddingHint | None = None


def not_installed(engine: str) -> str:
    """Return that a library is missing, and how to install it; "" if it is there."""
    library, how = LIBRARIES.get(engine, ("", ""))
    if not library or importlib.util.find_spec(library) is not None:
        return ""
    return f"{library} is not installed: {how}"


def convert(network: Network, engine: str, folder: Path) -> None:
    """Write a network for `onnx` or `openvino` into a folder; raises CannotConvert."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        inputs, outputs = WRITERS[engine](network.function, folder)
        names = tuple(inputs), tuple(outputs)
        rows, hint = network.fixed_rows, network.padding_hint
        described = Description(engine, network.signature, *names, rows, padding_hint=hint)
        describe(folder, described)
    except CannotConvert:
        raise
    except Exception as error:  # whatever the converter raises
        why = " ".join(str(error).split())[:300]
        raise CannotConvert(f"it cannot be converted: {type(error).__name__}: {why}") from error


def describe(folder: Path, description: Description) -> None:
    """Write the description of what is in a folder."""
    if description.engine == OnnxEngine.name:
        onnx_file.describe(folder / ONNX_FILE, description)
    else:
        (folder / DESCRIPTION).write_text(description.as_json())


def answer_with_nan(folder: Path, values: Sequence[float]) -> None:
    """Have the network in a folder answer NaN to rows of input with these; see `NanRows`."""
    if (folder / ONNX_FILE).exists():
        onnx_file.answer_with_nan(folder / ONNX_FILE, values)
        return
    description = Description.of_json((folder / DESCRIPTION).read_text())
    describe(folder, replace(description, answered_nan=tuple(values)))


def load_converted(folder: Path | str, threads: int) -> BatchEngine:
    """Load what `convert` has written; raises whatever reading it raises."""
    folder = Path(folder)
    if (folder / ONNX_FILE).exists():
        session = session_of(folder / ONNX_FILE, threads)
        description = onnx_file.description_in(session)
        if description is None:
            raise ValueError(f"{ONNX_FILE} has no description")
        return onnx_file.engine_of(session, description)
    description = Description.of_json((folder / DESCRIPTION).read_text())
    compiled = compiled_model(folder / OPENVINO_FILE, threads)
    rows, values = description.fixed_rows, description.answered_nan
    engine = OpenVinoEngine(compiled, description.signature, fixed_rows=rows)
    engine.padding_hint = description.padding_hint
    return NanRows(engine, values) if values else engine


Names = tuple[list[str], list[str]]


def _names_of(function: Any) -> Names:
    inputs = [tensor.name for tensor in function.inputs if tensor.dtype.name != "resource"]
    return inputs, [tensor.name for tensor in function.outputs]


def _write_onnx(function: Any, folder: Path) -> Names:
    """Raises whatever tf2onnx raises."""
    libraries.onnxruntime()  # tf2onnx imports it
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    _add_erfc()
    inputs, outputs = _names_of(function)
    converted, _ = tf2onnx.convert.from_graph_def(
        function.graph.as_graph_def(),
        input_names=inputs,
        output_names=outputs,
        opset=OPSET,
    )
    if unknown := _unknown_operations(converted.graph):
        raise CannotConvert(f"ONNX has no operation for its {', '.join(sorted(unknown))}")
    (folder / ONNX_FILE).write_bytes(converted.SerializeToString())
    return inputs, outputs


def _unknown_operations(graph: Any) -> set[str]:
    """Return the operations that ONNX does not have: tf2onnx keeps what it cannot convert."""
    from onnx import defs

    found = set()
    for node in graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if not defs.has(node.op_type, domain):
            found.add(node.op_type)
        for inner in (attribute.g for attribute in node.attribute if attribute.HasField("g")):
            found |= _unknown_operations(inner)
    return found


def _add_erfc() -> None:
    """Let tf2onnx convert `Erfc`, which the exact GELU uses, as 1 - `Erf`."""
    from tf2onnx import utils
    from tf2onnx.handler import tf_op

    class Erfc:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
            dtype = utils.map_onnx_to_numpy_type(ctx.get_dtype(node.input[0]))
            one = ctx.make_const(utils.make_name("one"), np.array(1, dtype))
            shapes, dtypes, output = node.output_shapes, node.output_dtypes, node.output[0]
            erf = ctx.make_node("Erf", [node.input[0]], shapes=shapes, dtypes=dtypes)
            ctx.remove_node(node.name)
            ctx.make_node(
                "Sub",
                [one.output[0], erf.output[0]],
                outputs=[output],
                shapes=shapes,
                dtypes=dtypes,
                name=node.name,
            )

    tf_op("Erfc")(Erfc)


def _write_openvino(function: Any, folder: Path) -> Names:
    """Raises whatever OpenVINO raises."""
    openvino = libraries.openvino()
    inputs, outputs = _names_of(function)
    graph = folder / "graph.pb"  # the only form of a graph that is converted without TensorFlow
    graph.write_bytes(function.graph.as_graph_def().SerializeToString())
    try:
        converted = openvino.convert_model(str(graph), input=inputs, output=outputs)
        openvino.save_model(converted, str(folder / OPENVINO_FILE), compress_to_fp16=False)
    finally:
        graph.unlink()
    return inputs, outputs


WRITERS: Final[dict[str, Callable[[Any, Path], Names]]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
}
