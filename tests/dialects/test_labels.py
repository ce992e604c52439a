"""Labels in place of numbers in native answers: what they are, their schema and their size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import numpy as np
import pytest

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.dialects.interface import DecodedRequest
from server.dialects.labels import Labels
from server.dialects.native.dialect import NativeDialect
from server.dialects.native.npy import dumps
from server.errors import InvalidRequest, NonFiniteOutput

X = TensorSpec("x", (1,), "float32")
ANIMALS = ("cat", "dog", "tabby")


def dialect(
    shape: tuple[int | None, ...],
    labels: Labels,
    dtype: str = "float32",
    others: Mapping[str, TensorSpec] | None = None,
    *,
    as_null: bool = False,
) -> NativeDialect:
    """Return the dialect of a model with the output y, and perhaps others."""
    outputs = (TensorSpec("y", shape, dtype), *(others or {}).values())
    signature = Signature((X,), outputs)
    return NativeDialect(signature, non_finite_as_null=as_null, labels={"y": labels})


def answer_of(known: NativeDialect, query: str = "", *, single: bool, **outputs: Any) -> Any:
    """Return the prediction in an answer; check its schema, and that its size was foreseen."""
    arrays = {name: np.asarray(values) for name, values in outputs.items()}
    rows = len(next(iter(arrays.values())))
    data = [0] if single else [[0]] * rows
    request = known.decode(json.dumps({"data": data}).encode())
    request = known.with_query(request, query)
    body = known.encode(Tensors(arrays), request).body
    document = json.loads(body)
    jsonschema.validate(document, known.answer_schema)
    assert len(body) <= known.answer_bytes(request) + len('{"prediction":}') + 2
    return document["prediction"]


def entry(label: str, score: float, index: int) -> dict[str, Any]:
    return {"label": label, "score": score, "index": index}


def floats(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def test_one_example_is_answered_with_its_labels_the_highest_score_first() -> None:
    known = dialect((3,), Labels(ANIMALS, 3))

    assert answer_of(known, single=True, y=floats([[0.2, 0.1, 0.7]])) == [
        entry("tabby", 0.7, 2),
        entry("cat", 0.2, 0),
        entry("dog", 0.1, 1),
    ]


def test_a_batch_is_answered_with_a_list_for_each_example() -> None:
    known = dialect((3,), Labels(ANIMALS, 1))

    assert answer_of(known, single=False, y=floats([[1, 2, 3], [9, 2, 3]])) == [
        [entry("tabby", 3.0, 2)],
        [entry("cat", 9.0, 0)],
    ]


def test_equal_scores_are_in_the_order_of_the_labels() -> None:
    known = dialect((3,), Labels(ANIMALS, 3))

    answer = answer_of(known, single=True, y=floats([[1, 1, 1]]))

    assert [each["index"] for each in answer] == [0, 1, 2]


def test_a_threshold_leaves_out_what_is_below_it() -> None:
    """Outputs with several labels at once."""
    known = dialect((3,), Labels(ANIMALS, 3, 0.5))

    assert answer_of(known, single=False, y=floats([[0.5, 0.9, 0.4], [0.1, 0.2, 0.3]])) == [
        [entry("dog", 0.9, 1), entry("cat", 0.5, 0)],
        [],
    ]


@pytest.mark.parametrize("shape", [(1,), ()])
def test_one_number_is_the_score_of_the_second_of_two_labels(shape: tuple[int, ...]) -> None:
    known = dialect(shape, Labels(("ham", "spam"), 2))
    y = floats([0.75, 0.25]).reshape(2, *shape)

    assert answer_of(known, single=False, y=y) == [
        [entry("spam", 0.75, 1), entry("ham", 0.25, 0)],
        [entry("ham", 0.75, 0), entry("spam", 0.25, 1)],
    ]
    assert answer_of(known, "raw=true", single=True, y=y[:1]) == 0.75


def test_one_number_may_have_one_label() -> None:
    known = dialect((1,), Labels(("spam",), 1, 0.5))

    answer = answer_of(known, single=False, y=floats([[0.75], [0.25]]))

    assert answer == [[entry("spam", 0.75, 0)], []]


def test_an_output_with_more_axes_has_lists_of_labels_for_each_place() -> None:
    """Such as one label for each word of a text, or for each pixel."""
    known = dialect((2, 2, 3), Labels(ANIMALS, 1))
    y = np.zeros((1, 2, 2, 3), np.float32)
    y[0, 0, 1, 2] = y[0, 1, 0, 1] = 1

    answer = answer_of(known, single=True, y=y)
    labels = [[[each["label"] for each in place] for place in line] for line in answer]

    assert labels == [[["cat"], ["tabby"]], [["dog"], ["cat"]]]


def test_other_outputs_keep_their_numbers() -> None:
    box = TensorSpec("box", (2,), "float32")
    known = dialect((3,), Labels(ANIMALS, 1), others={"box": box})
    outputs = {"y": floats([[1, 2, 3]]), "box": floats([[4, 5]])}

    assert answer_of(known, single=True, **outputs) == {
        "y": [entry("tabby", 3.0, 2)],
        "box": [4.0, 5.0],
    }
    raw = answer_of(known, "raw=true", single=True, **outputs)
    assert raw == {"y": [1.0, 2.0, 3.0], "box": [4.0, 5.0]}


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float64"])
def test_scores_are_written_as_numbers_of_their_type(dtype: str) -> None:
    known = dialect((3,), Labels(ANIMALS, 3), dtype)

    answer = answer_of(known, single=True, y=np.array([[200, 0, 100]], dtype))

    assert [(each["label"], each["score"]) for each in answer] == [
        ("cat", 200),
        ("tabby", 100),
        ("dog", 0),
    ]
    assert isinstance(answer[0]["score"], float if dtype.startswith("f") else int)


def test_scores_that_are_not_finite_are_an_error_or_null_and_last() -> None:
    y = floats([[np.nan, 1, 2]])

    with pytest.raises(NonFiniteOutput, match="output y"):
        answer_of(dialect((3,), Labels(ANIMALS, 3)), single=True, y=y)
    answer = answer_of(dialect((3,), Labels(ANIMALS, 3), as_null=True), single=True, y=y)

    assert answer[-1] == {"label": "cat", "score": None, "index": 0}


@pytest.mark.parametrize(
    "query, is_raw",
    [("raw=true", True), ("raw=false", False), ("raw=false&raw=true", True), ("other=1", False)],
)
def test_the_query_asks_for_numbers(query: str, is_raw: bool) -> None:
    known = dialect((3,), Labels(ANIMALS, 1))

    answer = answer_of(known, query, single=True, y=floats([[1, 2, 3]]))

    assert answer == ([1.0, 2.0, 3.0] if is_raw else [entry("tabby", 3.0, 2)])


@pytest.mark.parametrize("query", ["raw", "raw=", "raw=1", "raw=True"])
def test_a_query_that_says_neither_true_nor_false_is_rejected(query: str) -> None:
    known = dialect((3,), Labels(ANIMALS, 1))
    request = known.decode(b'{"data": [1]}')

    with pytest.raises(InvalidRequest, match="The parameter raw must be true or false"):
        known.with_query(request, query)


def test_an_array_is_answered_with_an_array() -> None:
    known = dialect((3,), Labels(ANIMALS, 1))
    headers = {"content-type": "application/x-npy"}
    request: DecodedRequest = known.decode(dumps(floats([[1]])), headers)
    y = floats([[1, 2, 3]])

    assert known.encode(Tensors({"y": y}), request).body == dumps(y)


def test_labels_of_any_length_and_alphabet_fit_the_size_that_was_foreseen() -> None:
    names = ("ü" * 50, '"\\\n\x00', "🐈" * 20)
    known = dialect((3,), Labels(names, 3), "float64")
    y = np.full((2, 3), -1.2345678901234567e-308)

    answer = answer_of(known, single=False, y=y)

    assert [each["label"] for each in answer[0]] == list(names)
