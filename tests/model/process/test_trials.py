"""Calls that test a network before it serves, with networks of numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.formats.files import ModelError
from model.process import trials as trying
from model.process.batch_size import BatchSize
from model.process.neighbours import Neighbours
from model.process.prepare import Report
from model.process.trials import Trials
from model.signature import Signature, TensorSpec
from model.tensors import RowCountMismatch, Tensors
from tests.support.fake_engine import (
    NUMBERS,
    REQUEST,
    SEQUENCES,
    WORDS,
    FakeEngine,
    line,
    neighbours,
    only,
    prepared,
    trials,
    version,
)

# Rows that the network accepts


@pytest.mark.parametrize(
    "accepted, rows",
    [
        (lambda x: x == 0, [[0, 0], [0, 0]]),
        (lambda x: x == 1, [[1, 1], [1, 1]]),
        (lambda x: np.linalg.det(x) == 1, [[1, 0], [0, 1]]),
        (lambda x: x.ravel()[:4] == [1, 2, 3, 1], [[1, 2], [3, 1]]),
    ],
    ids=["zeros", "ones", "identity", "counting"],
)
def test_calls_are_made_with_rows_that_the_network_accepts(
    accepted: Callable[[np.ndarray], Any], rows: list[list[int]]
) -> None:
    matrices = Signature((TensorSpec("x", (2, 2), "float32"),), NUMBERS.outputs)
    engine = FakeEngine(only(accepted), matrices)
    tried = Trials(engine, "m.keras")

    assert tried.find_rows()
    tried.warm_up(3)
    assert engine.rows[-2:] == [2, 3]
    assert engine.calls[-1].tolist() == [rows] * 3
    assert tried.row_nbytes == 16


@pytest.mark.logs_warnings
@pytest.mark.parametrize("max_rows, rows", [(0, 32), (4, 4), (100, 100)])
def test_a_network_that_accepts_no_generated_rows_is_served_with_a_warning(
    max_rows: int, rows: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine(only(lambda _: False))
    report, steps = prepared(engine, replace(REQUEST, max_rows=max_rows))

    assert report == Report(NUMBERS, BatchSize(rows))
    assert steps == ["loading", "making the first calls"]
    assert set(engine.rows) == {1}
    assert caplog.messages == [
        "the model fails on all generated rows (all zeros: unknown values): it is served without "
        "warm-up, so its first calls are slow, without examples, and with batching.max_rows "
        f"{rows}"
    ]


@pytest.mark.logs_warnings
def test_without_accepted_rows_batch_size_and_examples_of_the_version_before_are_used() -> None:
    before = replace(version(line), batch_size=BatchSize(8))
    request = replace(REQUEST, max_rows=0, before=before)
    report, _ = prepared(FakeEngine(only(lambda x: np.isin(x, [10, 20]))), request)

    assert report.batch_size == BatchSize(8)
    assert report.moved is not None
    assert report.moved > 0.9


def test_without_accepted_rows_a_restart_warns_of_nothing() -> None:
    request = replace(REQUEST, is_restart=True)

    assert prepared(FakeEngine(only(lambda _: False)), request)[0].batch_size == BatchSize(4)


def error_named(name: str) -> Exception:
    """An exception of TensorFlow, which is recognized by its name."""
    error: Exception = type(name, (Exception,), {})("whatever the rows")
    return error


@pytest.mark.parametrize("name", ["UnimplementedError", "ResourceExhaustedError", "MemoryError"])
@pytest.mark.parametrize("signature", [NUMBERS, SEQUENCES], ids=["fixed", "variable"])
def test_a_network_that_fails_on_any_rows_is_rejected(name: str, signature: Signature) -> None:
    def fail(_: np.ndarray) -> np.ndarray:
        raise error_named(name)

    with pytest.raises(ModelError) as rejected:
        prepared(FakeEngine(fail, signature))
    assert str(rejected.value).startswith("m.keras: the model fails on a batch of 1, ")
    assert ": whatever the rows; " in str(rejected.value)


def test_a_failure_on_several_rows_names_what_they_are() -> None:
    network = only(lambda x: (x == 1) & (len(x) == 1))

    with pytest.raises(ModelError, match="the model fails on a batch of 2, all ones: unknown"):
        trials(network).warm_up(2)


def test_the_search_for_accepted_rows_ends_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "SEARCH_SECONDS", 0)
    engine = FakeEngine(only(lambda _: False))

    assert not Trials(engine, "m.keras").find_rows()
    assert engine.rows == [1]


def test_accepted_rows_are_searched_once() -> None:
    for network, found in ((line, True), (only(lambda _: False), False)):
        engine = FakeEngine(network)
        tried = Trials(engine, "m.keras")
        assert tried.find_rows() is found
        calls = len(engine.calls)
        assert tried.find_rows() is found
        assert len(engine.calls) == calls


def test_a_trial_without_accepted_rows_is_an_error() -> None:
    with pytest.raises(LookupError, match="fails on all generated rows: all zeros: unknown values"):
        trials(only(lambda _: False)).trial(1)


def test_rows_are_compared_on_different_ones_of_the_accepted_kind() -> None:
    """Equal rows would not show that each gets the answer of the first."""

    def first_of_all(x: np.ndarray) -> np.ndarray:
        only(lambda x: np.isin(x, [1, 2, 3, 4]))(x)
        return np.repeat(line(x)[:1], len(x), 0)

    assert neighbours(first_of_all).alone_and_together() > 0.1


# Trials


def drifting(most: int) -> Callable[[np.ndarray], np.ndarray]:
    """A network that takes so many rows, and answers more at every call."""
    calls = 0

    def network(x: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        only(lambda x: len(x) <= most)(x)
        return line(x) + np.float32(calls)

    return network


def test_a_network_that_answers_differently_at_every_call_is_noisy() -> None:
    assert trials(line).noise == 0
    assert trials(drifting(most=4)).noise > trying.MAX_NOISE


def test_no_noise_is_seen_of_a_network_that_fails_on_several_rows() -> None:
    """A warm-up with several rows raises what it fails on."""
    tried = trials(drifting(most=1))

    assert tried.noise == 0
    tried.warm_up(1)
    with pytest.raises(ModelError, match="fails on a batch of 2"):
        tried.warm_up(2)


def test_a_network_built_for_calls_of_one_row_is_noisy_in_one_row() -> None:
    engine = FakeEngine(drifting(most=1))
    engine.fixed_rows = 1

    assert Trials(engine, "m.keras").noise > trying.MAX_NOISE


def test_a_trial_gives_the_size_of_its_answer() -> None:
    """Of strings, too."""
    assert trials(line).trial(5)() == 5 * 4
    words = trials(lambda x: np.array([b"abc"] * len(x), object), WORDS)
    assert words.trial(5)() == 5 * (8 + 3)


def test_an_answer_has_the_names_of_the_outputs() -> None:
    answer = trials(line).answer(Tensors({"x": np.array([[10]], "float32")}))

    assert {name: array.tolist() for name, array in answer.arrays.items()} == {"y": [[31]]}


def test_an_answer_of_too_few_outputs_is_an_error() -> None:
    two = Signature(NUMBERS.inputs, (*NUMBERS.outputs, TensorSpec("z", (1,), "float32")))

    with pytest.raises(ModelError, match="1, all zeros: 1 outputs came out where 2 are declared"):
        trials(line, two).trial(1)


@pytest.mark.parametrize("most", [1, 3, 5, 64])
def test_a_size_that_the_network_takes_is_found_though_it_takes_few(most: int) -> None:
    def bounded(x: np.ndarray) -> np.ndarray:
        if x.shape[1] > most:
            raise ValueError("too long")
        return line(x)

    tried = trials(bounded, SEQUENCES)
    tried.find_rows()
    tried.warm_up(2)


def test_rows_are_compared_on_zeros_where_random_ones_fail() -> None:
    def picky(x: np.ndarray) -> np.ndarray:
        if x.any():
            raise ValueError("zeros alone")
        return line(x)

    assert neighbours(picky).alone_and_together() == 0
    assert neighbours(lambda x: picky(x) + np.float32(len(x))).alone_and_together() > 0.1


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_call_has_more_rows_than_the_network_takes(most: int) -> None:
    engine = FakeEngine(only(lambda x: len(x) <= most))
    engine.fixed_rows = most
    report, _ = prepared(engine, replace(REQUEST, max_rows=most))

    assert max(engine.rows) == most
    assert [len(pair.rows) for pair in report.golden] == [1, 2][:most]


def test_rows_of_a_network_that_takes_one_at_a_time_are_not_compared() -> None:
    """It may keep state on purpose, so that the same row has another answer in the next call."""
    calls = 0

    def counting(x: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return line(x) + np.float32(calls)

    engine = FakeEngine(counting)
    engine.fixed_rows = 1
    assert Neighbours(Trials(engine, "m.keras")).alone_and_together() == 0


@pytest.mark.logs_warnings
def test_without_accepted_rows_calls_have_no_more_rows_than_the_network_takes() -> None:
    engine = FakeEngine(only(lambda _: False))
    engine.fixed_rows = 8

    assert prepared(engine, replace(REQUEST, max_rows=0))[0].batch_size == BatchSize(8)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_rows_without_a_number_do_not_depend_on_each_other(value: float) -> None:
    assert neighbours(lambda x: np.full((len(x), 1), value, "float32")).alone_and_together() == 0


def test_infinity_beside_numbers_is_compared_without_a_warning() -> None:
    def half(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, np.float32(np.inf), line(x))

    assert neighbours(half).alone_and_together() == 0


def test_nan_in_a_batch_alone_is_a_dependence() -> None:
    def spoiled(x: np.ndarray) -> np.ndarray:
        return np.full((len(x), 1), np.nan if len(x) > 1 else 1, "float32")

    assert neighbours(spoiled).alone_and_together() == np.inf


def test_answers_of_other_shapes_are_a_dependence() -> None:
    assert neighbours(lambda x: np.ones((len(x), len(x)), "float32")).alone_and_together() == np.inf


def test_words_depend_or_do_not() -> None:
    def counted(x: np.ndarray) -> np.ndarray:
        return np.array([b"%d" % len(x)] * len(x), object)

    assert neighbours(lambda x: x[:, 0], WORDS).alone_and_together() == 0
    assert neighbours(counted, WORDS).alone_and_together() == np.inf


def test_a_wrong_number_of_rows_is_told() -> None:
    with pytest.raises(RowCountMismatch, match="1 rows came out where 2 went in"):
        trials(lambda x: line(x)[:1]).answer(Tensors({"x": np.ones((2, 1), "float32")}))
