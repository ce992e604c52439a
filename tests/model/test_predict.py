from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.formats.load import ModelError, TensorFlowEngine
from model.predict import load_keras_model, main, predict
from model.signature import Signature, TensorSpec
from model.tensors import Tensors

CHECKOUT = Path(__file__).parents[2]


class Doubling:
    """Stands for a TensorFlowEngine, and needs no TensorFlow."""

    def __init__(self, *shape: int | None, outputs: int = 1) -> None:
        x = TensorSpec("x", shape, "float32")
        ys = [TensorSpec(f"y{number}", shape, "float32") for number in range(outputs)]
        self.signature = Signature((x,), tuple(ys))

    def predict(self, parts: list[Tensors]) -> list[Tensors]:
        return [Tensors({"y0": part.arrays["x"] * 2}) for part in parts]


def ask(data: Any, *shape: int | None) -> Any:
    return predict(data, Doubling(*shape)).tolist()  # type: ignore[arg-type]  # a fake


@pytest.mark.parametrize("data", [10, 10.0, [10], [[10]], (10,), np.array(10), np.float64(10)])
def test_one_number_however_it_is_given(data: Any):
    assert ask(data, 1) == [[20]]


@pytest.mark.parametrize("data", [[1, 2], [[1], [2]], np.array([1, 2]), range(1, 3)])
def test_several_numbers_are_several_examples(data: Any):
    assert ask(data, 1) == [[2], [4]]


def test_an_example_of_several_numbers_is_one_row():
    assert ask([1, 2, 3], 3) == [[2, 4, 6]]
    assert ask([[1, 2, 3], [4, 5, 6]], 3) == [[2, 4, 6], [8, 10, 12]]


def test_rows_of_no_dimension():
    assert ask(1) == [2]
    assert ask([1, 2]) == [2, 4]


def test_dimensions_may_vary():
    assert ask([1, 2, 3, 4], None) == [[2, 4, 6, 8]]


@pytest.mark.parametrize(
    "data, shape",
    [
        ([1, 2], (3,)),
        ([[1, 2]], (1,)),
        (1, (3,)),
        ([[[1]]], (1,)),
        ([[1, 2], [3]], (2,)),
        ("a", (1,)),
    ],
)
def test_data_that_do_not_fit_are_rejected(data: Any, shape: tuple[int, ...]):
    with pytest.raises(ValueError):
        ask(data, *shape)


def test_the_rejection_names_both_shapes():
    with pytest.raises(ValueError, match=r"shape \[1, 2\] does not fit the input x: float32\[3\]"):
        ask([1, 2], 3)


def test_several_outputs_are_rejected():
    with pytest.raises(ValueError, match="several inputs or outputs"):
        predict(1, Doubling(1, outputs=2))  # type: ignore[arg-type]  # a fake


def test_input_and_prediction_are_logged(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    ask(10, 1)
    assert caplog.messages == ["input [[10.0]], prediction [[20.0]]"]


def test_a_file_that_cannot_be_loaded(tmp_path: Path):
    with pytest.raises(ModelError, match="no such file"):
        load_keras_model(tmp_path / "m.keras")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model.predict", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)


def test_the_command_reports_a_wrong_file_in_one_line(tmp_path: Path):
    path = tmp_path / "m.keras"
    path.write_text("nonsense")
    ended = run("10", "--model", str(path))

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"{path}: is no zip archive")


@pytest.mark.keras
def test_the_example_model_answers_31_for_10(example_model: Path):
    model = load_keras_model(example_model)

    assert isinstance(model, TensorFlowEngine)
    assert predict(10, model) == pytest.approx(31, abs=0.01)
    assert predict([10, -2.5], model).ravel().tolist() == pytest.approx([31, -6.5], abs=0.01)


@pytest.mark.keras
def test_the_command_prints_a_line_for_each_number(example_model: Path):
    ended = run("10", "-1", "--model", str(example_model))

    assert ended.returncode == 0
    assert [float(line) for line in ended.stdout.splitlines()] == pytest.approx([31, -2], abs=0.01)
    assert "input [[10.0], [-1.0]], prediction [[3" in ended.stderr


@pytest.mark.keras
def test_main_can_be_called(example_model: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["4", "--model", str(example_model)]) == 0
    assert float(capsys.readouterr().out) == pytest.approx(13, abs=0.01)
