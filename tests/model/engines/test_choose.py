"""The score of an engine, and which one is taken."""

from __future__ import annotations

import json
from functools import partial

import pytest

from model.engines.choose import Choice, choose, rows_timed, score, scored, time_in_turn

TENSORFLOW = {1: 1.0, 8: 2.0, 32: 4.0}


def chosen(only: str | None = None, **seconds: dict[int, float]) -> Choice:
    return choose(scored({"tensorflow": TENSORFLOW, **seconds}), {}, only)


def times(*ratios: float) -> dict[int, float]:
    return {
        rows: seconds / ratio
        for (rows, seconds), ratio in zip(TENSORFLOW.items(), ratios, strict=True)
    }


def test_the_score_is_the_geometric_mean_of_the_ratios() -> None:
    assert score(TENSORFLOW, times(1, 2, 4)) == pytest.approx(2)


def test_the_best_score_is_taken() -> None:
    choice = chosen(onnx=times(3, 1, 1), openvino=times(2, 2, 2), frozen=times(1, 1, 1))

    assert choice.engine == "openvino"
    assert choice.reasons["onnx"].startswith("1.44 times as fast as TensorFlow, and openvino is 2")
    assert choice.reasons["frozen"] == "only 1.00 times as fast as TensorFlow"


def test_one_that_is_slower_at_any_number_of_rows_is_not_taken() -> None:
    choice = chosen(onnx=times(9, 9, 0.94))

    assert choice.engine == "tensorflow"
    assert choice.reasons["onnx"] == "calls of 32 rows are 0.94 times as fast as TensorFlow's"
    assert chosen(onnx=times(9, 9, 0.96)).engine == "onnx"


def test_less_than_a_fifth_is_not_worth_a_change() -> None:
    assert chosen(onnx=times(1.19, 1.19, 1.19)).engine == "tensorflow"
    assert chosen(onnx=times(1.21, 1.21, 1.21)).engine == "onnx"


def test_one_that_was_set_is_taken_however_slow() -> None:
    assert chosen("onnx", onnx=times(0.1, 0.1, 0.1)).engine == "onnx"


def test_one_that_was_set_and_disagrees_is_not_taken() -> None:
    timings = scored({"tensorflow": TENSORFLOW})

    assert choose(timings, {"onnx": "wrong"}, "onnx").engine == "tensorflow"


@pytest.mark.parametrize("most, rows", [(1, [1]), (4, [1, 4]), (16, [1, 8, 16]), (999, [1, 8, 32])])
def test_rows_that_are_timed(most: int, rows: list[int]) -> None:
    assert rows_timed(most) == rows


def test_calls_are_timed_in_turn_and_the_median_counts() -> None:
    now, order = [0.0], []

    def call(name: str, seconds: float) -> None:
        order.append(name)
        now[0] += 10 if len(order) == 3 else seconds

    calls = {"a": lambda: call("a", 0.1), "b": lambda: call("b", 0.2)}
    found = time_in_turn(calls, lambda: now[0])

    assert found == pytest.approx({"a": 0.1, "b": 0.2})
    assert order[:4] == ["a", "b", "a", "b"]


def test_of_short_calls_the_second_counts_which_follows_one_of_the_same_engine() -> None:
    now, before = [0.0], [""]

    def call(name: str, seconds: float) -> None:
        after_another = 0.0 if before[0] == name else 0.01
        before[0] = name
        now[0] += seconds + after_another

    calls = {name: partial(call, name, seconds) for name, seconds in (("a", 0.02), ("b", 0.001))}

    assert time_in_turn(calls, lambda: now[0]) == pytest.approx({"a": 0.02, "b": 0.001})


def test_a_choice_is_read_as_it_was_written() -> None:
    choice = chosen(onnx=times(3, 1, 1), openvino=times(2, 2, 2))

    assert Choice.of(json.loads(json.dumps(choice.fields()))) == choice
