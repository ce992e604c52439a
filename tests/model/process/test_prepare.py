"""What a model process does before it serves, with networks of numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.formats.files import ModelError
from model.process import prepare as preparing
from model.process.batch_size import BatchSize, Point
from model.process.prepare import Golden, LoadRequest, NotServable, Report, prepare
from model.process.trials import Trials
from model.signature import Signature, TensorSpec
from tests.support.fake_engine import (
    NUMBERS,
    REQUEST,
    SEQUENCES,
    WORDS,
    FakeEngine,
    line,
    only,
    prepared,
    trials,
    version,
)

# The report


def test_the_report_says_what_was_loaded() -> None:
    engine = FakeEngine(line)
    report, steps = prepared(engine)

    assert (report.signature, report.batch_size, report.moved) == (NUMBERS, BatchSize(4), None)
    pairs = [
        (pair.rows.arrays["x"].tolist(), pair.answer.arrays["y"].tolist()) for pair in report.golden
    ]
    assert pairs == [([[10]], [[31]]), ([[10], [20]], [[31], [61]])]
    assert steps == [
        "loading",
        "making the first calls",
        "comparing rows alone and in a batch",
        "answering the examples",
    ]
    assert engine.rows[:3] == [1, 2, 4]


def test_the_loader_gets_the_request() -> None:
    seen: list[LoadRequest] = []
    prepare(lambda request: seen.append(request) or FakeEngine(line), REQUEST)

    assert seen == [REQUEST]


def test_what_loading_raises_is_raised() -> None:
    def fail(_: LoadRequest) -> Any:
        raise ModelError("m.keras", "is damaged")

    with pytest.raises(ModelError, match="is damaged"):
        prepare(fail, REQUEST)


def test_the_size_of_batches_is_measured_where_none_is_set() -> None:
    engine = FakeEngine(line)
    report, steps = prepared(engine, replace(REQUEST, max_rows=0))

    assert [point.rows for point in report.batch_size.curve][:3] == [1, 2, 4]
    assert steps[2] == "measuring the batch size: calls of 1 rows"


def test_a_network_that_fails_on_zeros_is_rejected_by_the_name_of_its_file() -> None:
    with pytest.raises(ModelError) as refused:
        prepared(FakeEngine(lambda x: line(x)[:1]))
    assert str(refused.value) == (
        "m.keras: the model fails on a batch of 2, all zeros: 1 rows came out where 2 went in; "
        "give the model one row of output for each row of input"
    )


# Compared with the version before


def test_a_version_with_another_signature_is_rejected() -> None:
    """Before it is called at all."""
    engine = FakeEngine(line, SEQUENCES)
    with pytest.raises(NotServable) as refused:
        prepared(engine, replace(REQUEST, before=version(line)))

    assert str(refused.value) == (
        "its signature is x: float32[?] → y: float32[1], but that of the served version is "
        "x: float32[1] → y: float32[1]; set model.allow_signature_change: true if that is intended"
    )
    assert engine.calls == []


def test_another_signature_can_be_allowed() -> None:
    """Answers of other inputs are not compared."""
    request = replace(REQUEST, before=version(line), allow_signature_change=True)
    report, _ = prepared(FakeEngine(line, SEQUENCES), request)

    assert (report.signature, report.moved) == (SEQUENCES, None)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_version_that_answers_nan_where_there_were_numbers_is_rejected(bad: float) -> None:
    def spoiled(x: np.ndarray) -> np.ndarray:
        return np.where(x == 20, np.float32(bad), line(x))

    request = replace(REQUEST, before=version(line))
    with pytest.raises(NotServable, match="answers NaN or infinity to rows that had finite"):
        prepared(FakeEngine(spoiled), request)


def test_nan_that_was_there_before_is_no_fault() -> None:
    def spoiled(x: np.ndarray) -> np.ndarray:
        return np.where(x == 20, np.float32(np.nan), line(x))

    report, _ = prepared(FakeEngine(spoiled), replace(REQUEST, before=version(spoiled)))
    assert report.moved == 0


@pytest.mark.parametrize("factor, moved", [(1, 0), (1.01, 0.01), (2, 1)])
def test_how_far_answers_have_moved_is_reported(factor: float, moved: float) -> None:
    request = replace(REQUEST, before=version(line))
    report, _ = prepared(FakeEngine(lambda x: line(x) * np.float32(factor)), request)

    assert report.moved == pytest.approx(moved, abs=1e-6)


def test_words_have_moved_or_not() -> None:
    def first(x: np.ndarray) -> np.ndarray:
        return x[:, 0]

    request = replace(REQUEST, before=version(first, WORDS))
    assert prepared(FakeEngine(first, WORDS), request)[0].moved == 0
    shout = FakeEngine(lambda x: np.array([cell.upper() for cell in x[:, 0]], object), WORDS)
    assert prepared(shout, request)[0].moved == 1


def test_a_version_before_without_examples_is_not_compared() -> None:
    before = replace(version(line), golden=())

    assert prepared(FakeEngine(line), replace(REQUEST, before=before))[0].moved is None


# The batch size of the version before


CURVE = BatchSize(8, (Point(1, 0.001), Point(8, 0.002)))


def test_what_was_measured_before_is_kept_where_calls_are_as_short() -> None:
    before = replace(version(line), batch_size=CURVE)
    engine = FakeEngine(line)
    report, steps = prepared(engine, replace(REQUEST, max_rows=0, before=before))

    assert report.batch_size == CURVE
    assert max(engine.rows) == 8
    assert not any("measuring" in step for step in steps)


def test_it_is_measured_anew_where_they_are_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "is_as_fast", lambda *_: False)
    before = replace(version(line), batch_size=CURVE)
    report, _ = prepared(FakeEngine(line), replace(REQUEST, max_rows=0, before=before))

    assert report.batch_size != CURVE
    assert report.batch_size.curve


def test_a_call_that_takes_too_long_is_not_as_fast() -> None:
    trials = Trials(FakeEngine(line), "m.keras")

    assert preparing.is_as_fast(trials, 4, 10)
    assert not preparing.is_as_fast(trials, 4, 0)


# Started again


def test_a_version_that_is_started_again_is_only_loaded_and_warmed_up() -> None:
    engine = FakeEngine(line)
    report, steps = prepared(engine, replace(REQUEST, is_restart=True))

    assert steps == ["loading", "making the first calls"]
    assert engine.rows == [1, 2, 4]
    assert all((x == 0).all() for x in engine.calls)
    assert report == Report(NUMBERS, BatchSize(4))


def test_started_again_it_still_finds_a_size_for_variable_dimensions() -> None:
    def windowed(x: np.ndarray) -> np.ndarray:
        if x.shape[1] < 5:
            raise ValueError("too short")
        return line(x)

    engine = FakeEngine(windowed, SEQUENCES)
    prepared(engine, replace(REQUEST, is_restart=True))
    assert engine.calls[-1].shape == (4, 16)


# Examples


@pytest.mark.parametrize("least, size", [(0, 2), (3, 8), (9, 32), (100, 128)])
def test_examples_are_as_long_as_the_model_wants(least: int, size: int) -> None:
    def windowed(x: np.ndarray) -> np.ndarray:
        if x.shape[1] < least:
            raise ValueError("too short")
        return line(x)

    report, _ = prepared(FakeEngine(windowed, SEQUENCES))
    assert [pair.rows.arrays["x"].shape for pair in report.golden] == [(1, size), (2, size)]


def shown(report: Report) -> list[Any]:
    """The rows of the examples."""
    return [pair.rows.arrays["x"].tolist() for pair in report.golden]


def test_examples_are_rows_that_the_network_accepts_where_plausible_ones_fail() -> None:
    report, _ = prepared(FakeEngine(only(lambda x: x == 0)))
    assert shown(report) == [[[0]], [[0], [0]]]
    report, _ = prepared(FakeEngine(only(lambda x: np.isin(x, [1, 2]))))
    assert shown(report) == [[[1]], [[1], [2]]]


def test_examples_are_of_the_vocabulary() -> None:
    words = Signature(
        (TensorSpec("x", (2,), "string", samples=("red", "green")),),
        (TensorSpec("y", (1,), "float32"),),
    )
    engine = FakeEngine(only(lambda x: np.isin(x, ["red", "green"])), words)
    report, _ = prepared(engine)

    assert shown(report) == [[["red", "green"]], [["red", "green"], ["green", "red"]]]
    assert engine.rows[:3] == [1, 2, 4]


def test_examples_with_a_finite_answer_are_preferred() -> None:
    """Such as a mean over ids that are not all masked; clients get an error otherwise."""

    def logarithm(x: np.ndarray) -> np.ndarray:
        return np.where(x[:, :1] >= 10, np.float32(np.nan), line(x))

    report, _ = prepared(FakeEngine(logarithm))
    assert shown(report) == [[[0]], [[0], [0]]]
    never = FakeEngine(lambda x: np.full((len(x), 1), np.nan, "float32"))
    assert shown(prepared(never)[0]) == [[[10]], [[10], [20]]]


@pytest.mark.logs_warnings
def test_a_model_that_accepts_no_example_a_second_time_has_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    accept = True

    def failing(x: np.ndarray) -> np.ndarray:
        if not accept:
            raise ValueError("no more")
        return line(x)

    tried = trials(failing)
    assert tried.find_rows()
    accept = False
    assert preparing.answer_examples(tried, NUMBERS) == ()
    assert "no generated example works for this model" in caplog.text


# Rows that depend on each other


@pytest.mark.logs_warnings
def test_rows_that_depend_on_each_other_are_called_one_by_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = FakeEngine(lambda x: x - x.mean(axis=0))
    report, _ = prepared(engine, replace(REQUEST, max_rows=0))

    assert report.batch_size.rows == 1
    assert "changes with the other rows of its batch: each call gets one row" in caplog.text


@pytest.mark.logs_warnings
def test_a_batch_size_that_is_set_is_kept_though_rows_depend_on_each_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    report, _ = prepared(FakeEngine(lambda x: x - x.mean(axis=0)))

    assert report.batch_size.rows == REQUEST.max_rows
    assert "and batching.max_rows is set to 4: set it to auto or 1" in caplog.text


def test_a_sound_version_after_one_of_one_row_a_call_is_measured() -> None:
    report, _ = prepared(
        FakeEngine(line), replace(REQUEST, max_rows=0, before=version(line, rows=1))
    )

    assert report.batch_size.rows > 1


@pytest.mark.logs_warnings
def test_a_model_that_keeps_state_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    def counting(x: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return line(x) + np.float32(calls)

    prepared(FakeEngine(counting))
    assert "keeps state" in caplog.text


def test_rounding_is_not_warned_of() -> None:
    def rounding(x: np.ndarray) -> np.ndarray:
        return line(x) * np.float32(1 + 1e-6 * len(x))

    prepared(FakeEngine(rounding))


def test_golden_pairs_are_what_the_next_version_is_asked() -> None:
    """And asked as they were, in the order of the names."""
    before = version(line)
    engine = FakeEngine(line)
    prepared(engine, replace(REQUEST, before=before))
    assert isinstance(before.golden[0], Golden)
    asked = [x.tolist() for x in engine.calls]

    for pair in before.golden:
        assert asked.count(pair.rows.arrays["x"].tolist()) == 2  # for the examples once more
