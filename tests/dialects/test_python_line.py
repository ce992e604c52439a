"""The line of Python that makes a request which is too long to show."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from model.examples import example_rows
from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.dialects.native import npy
from server.dialects.native.json_codec import MEDIA_TYPE
from server.dialects.native.python_line import MAX_CODE, PythonLine, python_line
from server.dialects.v2.documents import of_model

Y = (TensorSpec("y", (1,), "float32"),)


def line_for(*arrays: np.ndarray, names: tuple[str, ...] = ("x", "it's", '"z"')) -> PythonLine:
    """Return the line for one row of these values."""
    named = dict(zip(names, arrays, strict=False))
    inputs = tuple(
        TensorSpec(name, array.shape, "string" if array.dtype.hasobject else array.dtype.name)
        for name, array in named.items()
    )
    return python_line(
        Signature(inputs, Y), Tensors({name: array[np.newaxis] for name, array in named.items()})
    )


def body_of(line: PythonLine, given: bytes = b"") -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", line.code], input=given, capture_output=True, check=True
    )
    assert len(done.stdout) <= line.nbytes
    return done.stdout


def data_of(line: PythonLine) -> Any:
    """Run a line in this process; return the data of its request."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(line.code, {})
    assert len(said.getvalue()) <= line.nbytes
    return json.loads(said.getvalue())["data"]


def test_a_model_with_one_array_gets_a_file_of_numpy() -> None:
    x = np.full((224, 224, 3), 1, "float32")
    line = line_for(x)

    assert line.media_type == npy.MEDIA_TYPE
    array, single = npy.loads(body_of(line), TensorSpec("x", x.shape, "float32"))
    assert single
    np.testing.assert_array_equal(array, x[np.newaxis])


@pytest.mark.parametrize(
    "values",
    [
        np.full((40, 3), 7, "int64"),
        np.resize(np.array([1, 2, 3], "uint8"), (5, 5)),
        np.resize(np.array([0.5, 1.5], "float16"), 1000),
        np.full((), True),
        np.array(["ä", 'a "b"', "it's"] * 50, object),
    ],
)
def test_the_values_of_several_inputs_are_the_same(values: np.ndarray) -> None:
    line = line_for(values, np.zeros(3, "float32"), values)

    assert line.media_type == MEDIA_TYPE
    assert "\n" not in line.code
    assert len(line.code) <= MAX_CODE
    expected = values.tolist()
    assert data_of(line) == {"x": expected, "it's": [0.0, 0.0, 0.0], '"z"': expected}


def test_one_input_of_strings_has_no_name() -> None:
    assert data_of(line_for(np.array(["a", "b"] * 9, object))) == ["a", "b"] * 9


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool", "object"])
def test_values_without_a_pattern_become_random_ones_of_their_kind(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, 500).astype(dtype)
    if dtype == "object":
        values = np.array([f"word {cell}" for cell in values], object)
    made = np.array(data_of(line_for(values, values))["x"])

    assert made.shape == values.shape
    if values.dtype.kind != "f":
        assert set(made.tolist()) <= set(values.tolist())


def test_many_inputs_are_taken_from_the_metadata() -> None:
    inputs = (
        *(TensorSpec(f"a_long_name_of_an_input_{n}", (2,), "float32") for n in range(98)),
        TensorSpec("größe", (None, 2), "string"),
        TensorSpec("flag", (), "bool"),
    )
    signature = Signature(inputs, Y)
    line = python_line(signature, example_rows(signature, 1, 2))

    assert line.reads_metadata
    assert len(line.code) <= MAX_CODE
    metadata = json.dumps(of_model("m", ["1"], signature)).encode()
    data = json.loads(body_of(line, metadata))["data"]
    assert list(data) == [spec.name for spec in inputs]
    assert data["a_long_name_of_an_input_7"] == [1, 1]
    assert data["größe"] == [["some words"] * 2] * 2
    assert data["flag"] is True
