"""Classes in answers of the Open Inference Protocol, as Triton's classification extension says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.dialects.labels import Labels
from server.dialects.v2.dialect import V2Dialect
from server.errors import InvalidRequest

X = TensorSpec("x", (1,), "float32")
ANIMALS = Labels(("cat", "dog", "tabby"), 1)


def dialect(*outputs: TensorSpec, **labels: Labels) -> V2Dialect:
    return V2Dialect("m", "1", Signature((X,), outputs), labels=labels)


def scores(*shape: int, dtype: str = "float32", name: str = "y") -> TensorSpec:
    return TensorSpec(name, shape, dtype)


def body(rows: int, outputs: list[dict[str, Any]]) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 1], "data": [0] * rows}
    return json.dumps({"inputs": [tensor], "outputs": outputs}).encode()


def wanted(count: Any, **parameters: Any) -> list[dict[str, Any]]:
    return [{"name": "y", "parameters": {"classification": count, **parameters}}]


def answer_of(known: V2Dialect, outputs: list[dict[str, Any]], **arrays: Any) -> dict[str, Any]:
    """Return the outputs of an answer in JSON by name; check its schema and foreseen size."""
    rows = len(next(iter(arrays.values())))
    request = known.decode(body(rows, outputs))
    answer = known.encode(Tensors(arrays), request).body
    document = json.loads(answer)
    Draft202012Validator(known.answer_schema).validate(document)
    assert len(answer) <= known.answer_bytes(request)
    return {each["name"]: each for each in document["outputs"]}


def floats(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def test_classes_are_strings_the_highest_score_first() -> None:
    y = answer_of(dialect(scores(3)), wanted(2), y=floats([[0.25, 0, 0.5], [1, 2e6, -0.1]]))["y"]

    assert y == {
        "name": "y",
        "datatype": "BYTES",
        "shape": [2, 2],
        "data": ["0.500000:2", "0.250000:0", "2000000.000000:1", "1.000000:0"],
    }


def test_classes_have_the_labels_of_the_settings_and_another_top_k() -> None:
    y = answer_of(dialect(scores(3), y=ANIMALS), wanted(2), y=floats([[0.25, 0, 0.5]]))["y"]

    assert y["data"] == ["0.500000:2:tabby", "0.250000:0:cat"]


def test_more_classes_than_there_are_become_all_of_them() -> None:
    y = answer_of(dialect(scores(2)), wanted(99), y=floats([[1, 2]]))["y"]

    assert y["shape"] == [1, 2]


def test_all_numbers_of_a_row_are_classes_whatever_its_shape() -> None:
    """Triton counts them row by row."""
    known = dialect(scores(2, 3), y=ANIMALS)
    y = answer_of(known, wanted(2), y=floats([[[0, 0, 1], [0, 2, 0]]]))["y"]

    assert y["data"] == ["2.000000:4:dog", "1.000000:2:tabby"]


@pytest.mark.parametrize("shape", [(1,), ()])
def test_one_number_with_two_labels_has_two_classes(shape: tuple[int, ...]) -> None:
    known = dialect(scores(*shape), y=Labels(("ham", "spam"), 2))
    y = answer_of(known, wanted(2), y=floats([0.25]).reshape(1, *shape))["y"]

    assert y["data"] == ["0.750000:0:ham", "0.250000:1:spam"]


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_whole_numbers_are_written_as_such(dtype: str) -> None:
    y = answer_of(dialect(scores(3, dtype=dtype)), wanted(1), y=np.array([[7, 200, 3]], dtype))["y"]

    assert y["data"] == ["200:1"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint64"])
def test_the_longest_scores_fit_the_size_that_was_foreseen(dtype: str) -> None:
    kind = np.dtype(dtype)
    low = np.finfo(kind).min if kind.kind == "f" else np.iinfo(kind).min or np.iinfo(kind).max
    known = dialect(scores(2, dtype=dtype), y=Labels(("ü" * 40, "\0\n"), 2))

    answer_of(known, wanted(2), y=np.full((3, 2), low, kind))


def test_other_outputs_keep_their_numbers() -> None:
    known = dialect(scores(2), scores(2, name="box"))
    answer = answer_of(
        known, [*wanted(1), {"name": "box"}], y=floats([[1, 2]]), box=floats([[3, 4]])
    )

    assert answer["y"]["data"] == ["2.000000:1"]
    assert answer["box"]["data"] == [3.0, 4.0]


def test_classes_in_binary_are_strings_after_their_lengths() -> None:
    known = dialect(scores(3), y=ANIMALS)
    request = known.decode(body(1, wanted(1, binary_data=True)))
    answer = known.encode(Tensors({"y": floats([[0, 0, 1]])}), request)

    head = answer.body[: int(answer.headers["Inference-Header-Content-Length"])]
    tail = answer.body[len(head) :]
    [y] = json.loads(head)["outputs"]
    assert (y["datatype"], y["shape"]) == ("BYTES", [1, 1])
    assert y["parameters"] == {"binary_data_size": len(tail)}
    assert tail == b"\x10\0\0\0" + b"1.000000:2:tabby"
    assert len(answer.body) <= known.answer_bytes(request)


@pytest.mark.parametrize("count", [0, None, False])
def test_no_classes_means_numbers(count: Any) -> None:
    assert answer_of(dialect(scores(1)), wanted(count), y=floats([[1]]))["y"]["data"] == [1.0]


@pytest.mark.parametrize("count", [-1, 1.5, "2", True, [1]])
def test_a_count_that_is_none_is_rejected(count: Any) -> None:
    with pytest.raises(InvalidRequest, match="classification must be a number of classes"):
        dialect(scores(3)).decode(body(1, wanted(count)))


@pytest.mark.parametrize("dtype", ["string", "bool"])
def test_classes_of_what_has_no_scores_are_rejected(dtype: str) -> None:
    with pytest.raises(InvalidRequest, match="classification is for numbers, but y is B"):
        dialect(scores(3, dtype=dtype)).decode(body(1, wanted(1)))
