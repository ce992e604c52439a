"""Writes small networks as .onnx files, for the trial and the throughput."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Layer = tuple[np.ndarray, np.ndarray]
"""Weights of shape (inputs, units), and biases."""

WIDTHS: Final = (16, 2048, 2048, 1)  # 4.2 million multiplications a row


def line(folder: Path, name: str, slope: float) -> Path:
    """Write a network that answers slope · x + 1."""
    return _save(folder / f"{name}.onnx", [(np.array([[slope]]), np.array([1.0]))])


def dense(folder: Path, name: str) -> Path:
    """Write a network of dense layers of WIDTHS, with ReLU between them and random weights."""
    random = np.random.default_rng(0)
    layers = [
        (random.standard_normal((inputs, units)) * (2 / inputs) ** 0.5, np.zeros(units))
        for inputs, units in pairwise(WIDTHS)
    ]
    return _save(folder / f"{name}.onnx", layers)


def _save(path: Path, layers: Sequence[Layer]) -> Path:
    nodes, constants, last = [], [], len(layers) - 1
    for n, (weights, biases) in enumerate(layers):
        for name, value in ((f"w{n}", weights), (f"b{n}", biases)):
            constants.append(numpy_helper.from_array(value.astype(np.float32), name))
        into, out = f"h{n - 1}" if n else "x", "y" if n == last else f"h{n}"
        sums = out if n == last else f"s{n}"
        nodes.append(helper.make_node("Gemm", [into, f"w{n}", f"b{n}"], [sums]))
        if n != last:
            nodes.append(helper.make_node("Relu", [sums], [out]))
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", size])
        for name, size in (("x", layers[0][0].shape[0]), ("y", layers[last][0].shape[1]))
    )
    graph = helper.make_graph(nodes, path.stem, [x], [y], initializer=constants)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path
