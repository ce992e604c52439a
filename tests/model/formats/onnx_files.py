"""Small `.onnx` files, made without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.array([[1.0, -1.0], [2.0, 0.5], [0.0, 3.0]], np.float32)

Shape = Sequence[int | str | None] | None


def tensor(name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Sequence[Any] = (),
    **more: Any,
) -> Any:
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=constants)
    opsets = [helper.make_opsetid("", 18), *more.pop("opsets", ())]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, **more)


def weights() -> Any:
    return numpy_helper.from_array(WEIGHTS, "w")


def dense(rows: int | str = "rows", constant: Any = None) -> Any:
    """A layer `x @ WEIGHTS`, from 3 numbers to 2."""
    return model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [tensor("x", [rows, 3])],
        [tensor("y", [rows, 2])],
        [weights() if constant is None else constant],
    )


def identity(kind: int, shape: Shape) -> Any:
    """A network that returns its input."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return model([node], [tensor("x", shape, kind)], [tensor("y", shape, kind)])


def external(location: str, **entries: int) -> Any:
    """The weights, in another file."""
    constant = weights()
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        constant.external_data.add(key=key, value=str(value))
    return constant


def save(made: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.SerializeToString())
    return path
