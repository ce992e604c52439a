"""Converts a frozen network for ONNX Runtime or OpenVINO, into a folder.

The folder holds the network as the engine reads it, and `engine.json`: which engine, the signature,
and what the file calls its inputs and outputs.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from model.engines import libraries
from model.engines.batch_engine import BatchEngine
from model.engines.frozen import CannotConvert
from model.engines.nan_rows import NanRows
from model.engines.onnx import OnnxEngine, session_of
from model.engines.openvino import OpenVinoEngine, compiled_model
from model.signature import Signature
from model.signature_json import signature_fields, signature_of

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
        names = WRITERS[engine](network.function, folder)
    except CannotConvert:
        raise
    except Exception as error:  # whatever the converter raises
        why = " ".join(str(error).split())[:300]
        raise CannotConvert(f"it cannot be converted: {type(error).__name__}: {why}") from error
    describe(folder, engine, network, names)


def describe(folder: Path, engine: str, network: Network, names: Names) -> None:
    """Write `engine.json`."""
    inputs, outputs = names
    fields = {
        "engine": engine,
        "signature": signature_fields(network.signature),
        "fixed_rows": network.fixed_rows,
        "inputs": inputs,
        "outputs": outputs,
        "answered_nan": [],
    }
    (folder / DESCRIPTION).write_text(json.dumps(fields, indent=1))


def answer_with_nan(folder: Path, values: Sequence[float]) -> None:
    """Have the network in a folder answer NaN to rows of input with these; see `NanRows`."""
    path = folder / DESCRIPTION
    fields = json.loads(path.read_text()) | {"answered_nan": list(map(str, values))}
    path.write_text(json.dumps(fields, indent=1))


def load_converted(folder: Path | str, threads: int) -> BatchEngine:
    """Load what `convert` has written; raises whatever reading it raises."""
    folder = Path(folder)
    fields = json.loads((folder / DESCRIPTION).read_text())
    signature, fixed_rows = signature_of(fields["signature"]), fields["fixed_rows"]
    engine: BatchEngine
    if fields["engine"] == "onnx":
        engine = OnnxEngine(
            session_of(folder / ONNX_FILE, threads),
            signature,
            inputs=fields["inputs"],
            outputs=fields["outputs"],
            fixed_rows=fixed_rows,
        )
    else:
        compiled = compiled_model(folder / OPENVINO_FILE, threads)
        engine = OpenVinoEngine(compiled, signature, fixed_rows=fixed_rows)
    values = [float(value) for value in fields["answered_nan"]]
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
    domains = {node.domain for node in converted.graph.node} - {"", "ai.onnx", "ai.onnx.ml"}
    if domains:
        raise CannotConvert(f"ONNX has no operation for its {', '.join(sorted(domains))}")
    (folder / ONNX_FILE).write_bytes(converted.SerializeToString())
    return inputs, outputs


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
