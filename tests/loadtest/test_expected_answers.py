"""Comparison of answers with the model's own predictions."""

from __future__ import annotations

import orjson
import pytest

from model.signature import Signature, TensorSpec
from model.tensors import Tensors, merge, split
from server.loadtest.expected_answers import ExpectedAnswers

X = TensorSpec("x", (1,), "float32")
VECTOR = TensorSpec("v", (None,), "float32")
SUM = TensorSpec("sum", (1,), "float32")
SCALED = TensorSpec("scaled", (None,), "float32")


class FakeModel:
    """Returns the sum of all inputs of a row, and the last input times two."""

    def __init__(self, inputs, outputs=(SUM,), factor=1.0):
        self.signature = Signature(inputs, outputs)
        self.factor = factor
        self.calls = []

    def predict(self, parts):
        """Return the outputs named in the signature."""
        batch = merge(parts)
        self.calls.append(len(batch))
        *_, last = batch.arrays.values()
        total = sum(array.sum(axis=1, keepdims=True) for array in batch.arrays.values())
        outputs = {"sum": total * self.factor, "scaled": last * 2}
        wanted = {spec.name: outputs[spec.name] for spec in self.signature.outputs}
        return split(Tensors(wanted), [len(part) for part in parts])


def answer(prediction):
    """Return the body of an answer."""
    return orjson.dumps({"prediction": prediction})


def test_the_right_answer_to_one_example_is_a_number():
    """A list of one number and the answer to another request are wrong."""
    answers = ExpectedAnswers(FakeModel([X]), [[1.5], [20]], rows=1)

    assert answers.matches(0, answer(1.5))
    assert answers.matches(1, answer(20))
    assert not answers.matches(0, answer(20))
    assert not answers.matches(0, answer([1.5]))


def test_the_right_answer_to_a_batch_is_a_list_in_order():
    """Missing, surplus or exchanged numbers are wrong."""
    answers = ExpectedAnswers(FakeModel([X]), [[[1], [2]]], rows=2)

    assert answers.matches(0, answer([1, 2]))
    assert not answers.matches(0, answer([2, 1]))
    assert not answers.matches(0, answer([1]))
    assert not answers.matches(0, answer([1, 2, 3]))


@pytest.mark.parametrize(
    "body", [b"", b"no", b"[]", b"{}", answer(None), answer("1"), answer([[1], 2])]
)
@pytest.mark.parametrize("rows", [1, 2])
def test_an_invalid_body_is_a_wrong_answer(body, rows):
    """It does not stop the load test."""
    data = [1] if rows == 1 else [[1], [2]]

    assert not ExpectedAnswers(FakeModel([X]), [data], rows).matches(0, body)


@pytest.mark.parametrize(
    "factor, value, right",
    [
        (1, 30 + 2e-4, True),
        (1, 30 + 4e-4, False),
        (1e-6, 30e-6 * (1 + 9e-6), True),
        (1e-6, 30e-6 * (1 + 2e-5), False),
    ],
)
def test_numbers_may_differ_by_the_tolerance(factor, value, right):
    """The tolerance is relative to the usual size of the outputs, even if that is tiny."""
    answers = ExpectedAnswers(FakeModel([X], factor=factor), [[30]], rows=1)

    assert answers.matches(0, answer(value)) is right


def test_numbers_near_zero_have_the_same_absolute_tolerance():
    """Rounding errors of a number near zero are as large as those of the others."""
    answers = ExpectedAnswers(FakeModel([X]), [[1e-9], [2]], rows=1)

    assert answers.matches(0, answer(9e-6))
    assert not answers.matches(0, answer(2e-5))


def test_several_inputs_and_outputs_are_matched_by_name():
    """The answer is an object, and every output is compared."""
    answers = ExpectedAnswers(
        FakeModel([X, VECTOR], [SUM, SCALED]), [{"v": [2, 3], "x": [1]}], rows=1
    )

    assert answers.matches(0, answer({"sum": 6, "scaled": [4, 6]}))
    assert not answers.matches(0, answer({"sum": 6, "scaled": [4, 7]}))
    assert not answers.matches(0, answer({"sum": 6}))
    assert not answers.matches(0, answer(6))


def test_rows_of_different_shapes_go_into_different_calls():
    """Each answer is still compared with the right request."""
    model = FakeModel([VECTOR])
    answers = ExpectedAnswers(model, [[1, 2], [3], [4, 5], [6]], rows=1)

    assert [answers[index] for index in range(4)] == [3, 3, 9, 6]
    assert model.calls == [2, 2]


def test_many_requests_are_computed_in_large_batches():
    """2,500 requests take three model calls."""
    model = FakeModel([X])
    answers = ExpectedAnswers(model, [[number] for number in range(2500)], rows=1)

    assert answers[2499] == 2499
    assert model.calls == [1024, 1024, 452]
