"""A converted `.onnx` file tells by itself what it is; made here without TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from model.engines import onnx_file
from model.engines.description import Description
from model.formats.load import load_model
from model.padding import PaddingHint
from model.signature import Signature, TensorSpec
from tests.model.formats.onnx_files import WEIGHTS, dense, helper, model, save, tensor

IDS = TensorSpec("word", (None,), "int32", 0, 9, samples=(3, 4))
ROWS = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


def described(made: Any, folder: Path, description: Description) -> Path:
    path = save(made, folder / "m.onnx")
    onnx_file.describe(path, description)
    return path


def signature(inputs: str = "numbers", outputs: str = "scores") -> Signature:
    x = TensorSpec(inputs, (3,), "float32")
    return Signature((x,), (TensorSpec(outputs, (2,), "float32"),), "serve")


def ids() -> Any:
    node = helper.make_node("Identity", ["ids:0"], ["out:0"])
    kind = onnx.TensorProto.INT32
    return model([node], [tensor("ids:0", None, kind)], [tensor("out:0", None, kind)])


def test_it_has_the_names_of_the_signature_for_other_programs_too(tmp_path: Path) -> None:
    path = described(dense(), tmp_path, Description("onnx", signature(), ("x",), ("y",)))
    made = onnx.load(path)
    onnx.checker.check_model(made, full_check=True)

    assert [each.name for each in made.graph.input] == ["numbers"]
    assert [each.name for each in made.graph.output] == ["scores"]
    [answer] = load_model(path).call([ROWS])
    assert answer.tolist() == (ROWS @ WEIGHTS).tolist()


def test_ids_samples_and_the_name_of_the_signature_are_kept(tmp_path: Path) -> None:
    wanted = Signature((IDS,), (TensorSpec("same", (None,), "int32"),), "serve")
    path = described(ids(), tmp_path, Description("onnx", wanted, ("ids:0",), ("out:0",)))
    found = load_model(path).signature

    assert (found, found.name, found.inputs[0].samples) == (wanted, "serve", (3, 4))


def test_what_layers_say_about_padding_is_kept(tmp_path: Path) -> None:
    hint = PaddingHint({"numbers": -1.0}, "")
    description = Description("onnx", signature(), ("x",), ("y",), padding_hint=hint)

    assert load_model(described(dense(), tmp_path, description)).padding_hint == hint
    other = described(dense(), tmp_path, replace(description, padding_hint=None))
    assert load_model(other).padding_hint is None


def test_an_input_and_an_output_may_have_one_name(tmp_path: Path) -> None:
    wanted = signature("x", "x")
    path = described(dense(), tmp_path, Description("onnx", wanted, ("x",), ("y",)))
    engine = load_model(path)

    assert engine.signature == wanted
    assert engine.call([ROWS])[0].tolist() == (ROWS @ WEIGHTS).tolist()


def test_a_name_that_the_graph_uses_within_is_left_to_it(tmp_path: Path) -> None:
    wanted = signature("w", "scores")  # as the weights are called
    path = described(dense(), tmp_path, Description("onnx", wanted, ("x",), ("y",)))
    engine = load_model(path)

    assert engine.signature == wanted
    assert engine.call([ROWS])[0].tolist() == (ROWS @ WEIGHTS).tolist()


def test_names_are_changed_in_branches_too(tmp_path: Path) -> None:
    def branch(operation: str) -> Any:
        node = helper.make_node(operation, ["x"], [operation])
        return helper.make_graph([node], operation, [], [tensor(operation, ["rows", 3])])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["c"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("Neg"), else_branch=branch("Abs")),
    ]
    made = model(nodes, [tensor("x", ["rows", 3])], [tensor("y", ["rows", 3])])
    x, y = (TensorSpec(name, (3,), "float32") for name in ("numbers", "scores"))
    path = described(made, tmp_path, Description("onnx", Signature((x,), (y,)), ("x",), ("y",)))

    assert load_model(path).call([ROWS])[0].tolist() == (-ROWS).tolist()


def test_rows_with_nan_are_answered_as_described(tmp_path: Path) -> None:
    path = described(dense(), tmp_path, Description("onnx", signature(), ("x",), ("y",)))
    onnx_file.answer_with_nan(path, [float("inf")])
    [answer] = load_model(path).call([np.array([[1, 2, 3], [np.inf, 0, 0]], np.float32)])

    assert np.isnan(answer).all(axis=1).tolist() == [False, True]


def test_a_fixed_number_of_rows_is_kept(tmp_path: Path) -> None:
    description = Description("onnx", signature(), ("x",), ("y",), fixed_rows=4)
    engine = load_model(described(dense(rows=4), tmp_path, description))

    assert engine.fixed_rows == 4
    assert engine.call([ROWS])[0].tolist() == (ROWS @ WEIGHTS).tolist()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"signature": 7}', "[" * 100_000], ids=lambda text: text[:16]
)
def test_a_description_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="its description cannot be read: "):
        Description.of_json(text)


@pytest.mark.parametrize(
    "field, value",
    [
        *(("inputs", []), ("fixed_rows", 0), ("fixed_rows", "4"), ("answered_nan", 1)),
        *(("padding_hint", hint) for hint in (1, {}, {"values": {"x": None}, "why_not": ""})),
    ],
)
def test_a_description_with_a_wrong_field_is_an_error(field: str, value: object) -> None:
    import json

    fields = json.loads(Description("onnx", signature(), ("x",), ("y",)).as_json())
    with pytest.raises(ValueError, match="its description cannot be read: "):
        Description.of_json(json.dumps(fields | {field: value}))
