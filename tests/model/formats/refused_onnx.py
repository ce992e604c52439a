"""`.onnx` files that are refused, each by the message it gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.engines.description import Description
from model.engines.onnx_file import KEY
from model.formats import onnx as formats
from model.formats.load import load_model
from model.signature import Signature, TensorSpec
from tests.model.formats import onnx_files
from tests.model.formats.onnx_files import TensorProto, dense, external, helper, tensor

Make = Callable[[Path], object]


def file_of(made: Any) -> Make:
    return lambda folder: load_model(onnx_files.save(made, folder / "m.onnx"))


def content(data: bytes) -> Make:
    def make(folder: Path) -> object:
        (folder / "m.onnx").write_bytes(data)
        return load_model(folder / "m.onnx")

    return make


def too_large(folder: Path) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "MAX_BYTES", 8)
        return file_of(dense())(folder)


def beside(made: Any, name: str, data: bytes) -> Make:
    """Return what loads a file that has another beside it, relative to its folder."""

    def make(folder: Path) -> object:
        path = onnx_files.save(made, folder / "model" / "m.onnx")
        (path.parent / name).write_bytes(data)
        return load_model(path)

    return make


def negative_size() -> Any:
    constant = onnx_files.weights()
    constant.dims[0] = -3
    return constant


def huge_size() -> Any:
    constant = onnx_files.weights()
    constant.dims[0] = 2**40
    return constant


def single_value() -> Any:
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    return onnx_files.model([node], [tensor("x", ["rows", 3])], [tensor("y", [])])


def three_rows() -> Any:
    node = helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])
    return onnx_files.model([node], [tensor("x", ["rows", 3])], [tensor("y", [3, None])])


def own_operation() -> Any:
    node = helper.make_node("Magic", ["x"], ["y"], domain="com.example")
    ends = [tensor("x", ["rows", 3])], [tensor("y", ["rows", 3])]
    return onnx_files.model([node], *ends, opsets=[helper.make_opsetid("com.example", 1)])


def described(text: str) -> Any:
    made = dense()
    helper.set_model_props(made, {KEY: text})
    return made


def of_another_shape() -> Any:
    """A description that has two numbers where the network takes three."""
    x, y = (TensorSpec(name, (2,), "float32") for name in "xy")
    return described(Description("onnx", Signature((x,), (y,)), ("x",), ("y",)).as_json())


REFUSED: dict[str, Make] = {
    "holds a model of Keras": content(b"PK\3\4"),
    "is no .onnx file that can be read: …": content(b"hello"),
    "has … bytes, and at most … can be read": too_large,
    "ONNX Runtime cannot load it: …": file_of(
        onnx_files.model(
            [helper.make_node("NoSuchOperation", ["x"], ["y"])],
            [tensor("x", ["rows", 3])],
            [tensor("y", ["rows", 3])],
        )
    ),
    "contains the operation … of …, which needs a library of its own": file_of(own_operation()),
    "its constant … has an impossible shape": file_of(dense(constant=negative_size())),
    "its constant … claims more numbers than it has": file_of(dense(constant=huge_size())),
    "its constant … is in …; only files in the folder of the model are read": file_of(
        dense(constant=external("/etc/passwd"))
    ),
    "its constant … is in …, outside the folder": beside(
        dense(constant=external("../weights")), "../weights", bytes(24)
    ),
    "its constant … is in …, which is missing": file_of(dense(constant=external("weights"))),
    "its constant … is in …, which is shorter than it should be": beside(
        dense(constant=external("weights", length=24)), "weights", bytes(23)
    ),
    "has no inputs or no outputs": file_of(
        onnx_files.model(
            [helper.make_node("Constant", [], ["y"], value_floats=[1.0])], [], [tensor("y", [1])]
        )
    ),
    "its … is of type …, and only tensors of numbers, bool and strings are served": file_of(
        onnx_files.model(
            [helper.make_node("SequenceConstruct", ["x"], ["y"])],
            [tensor("x", ["rows", 3])],
            [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["rows", 3])],
        )
    ),
    "its … is a single value, or declares no shape": file_of(single_value()),
    "its description cannot be read: …": file_of(described("{")),
    "its description does not fit its inputs and outputs": file_of(of_another_shape()),
}
