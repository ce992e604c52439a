"""Whether the answer to a row changes with its neighbours, with networks of numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.process.neighbours import DRAWS, FEWEST_DRAWS, Neighbours
from model.process.trials import Trials
from model.signature import Signature, TensorSpec
from tests.support.fake_engine import (
    REQUEST,
    SEQUENCES,
    WORDS,
    FakeEngine,
    line,
    neighbours,
    prepared,
)

WORDS_OF_ONE = Signature((TensorSpec("x", (1,), "string"),), (TensorSpec("y", (None,), "int64"),))


def padded(x: np.ndarray) -> np.ndarray:
    """The length of each word, padded to the longest text of the batch."""
    lengths = [[len(word) for word in text.split()] for text in x[:, 0]]
    longest = max(map(len, lengths))
    return np.array([each + [0] * (longest - len(each)) for each in lengths], "int64")


def test_sound_networks_have_no_influence_of_neighbours() -> None:
    assert not neighbours(line).matter()
    assert not neighbours(lambda x: x.sum(axis=1, keepdims=True), SEQUENCES).matter()
    assert not neighbours(lambda x: x[:, 0], WORDS).matter()


def test_texts_padded_to_the_longest_of_their_batch_are_found() -> None:
    assert neighbours(padded, WORDS_OF_ONE).matter()


@pytest.mark.parametrize("unlikely", [700.0, 2e-3], ids=["large", "small"])
def test_an_influence_of_large_or_small_values_alone_is_found(unlikely: float) -> None:
    def spoiled(x: np.ndarray) -> np.ndarray:
        size = np.abs(x[x != 0])
        is_there = (size > unlikely).any() if unlikely > 1 else (size < unlikely).any()
        return line(x) + np.float32(is_there)

    assert neighbours(spoiled).matter()


def test_an_influence_at_one_size_alone_is_found() -> None:
    def long_ones(x: np.ndarray) -> np.ndarray:
        return line(x) + (x[0, 0] if x.shape[1] == 19 else np.float32(0))

    assert neighbours(long_ones, SEQUENCES).matter()


def test_sizes_and_neighbours_that_are_rejected_are_left_out() -> None:
    def picky(x: np.ndarray) -> np.ndarray:
        if x.shape[1] != 2 or np.abs(x).max() > 100:
            raise ValueError("rejected")
        return line(x)

    assert not neighbours(picky, SEQUENCES).matter()


def test_every_place_of_the_batch_is_compared() -> None:
    def last_of_four(x: np.ndarray) -> np.ndarray:
        answer = line(x)
        if len(x) == 4:
            answer[2] += x[3]
        return answer

    assert neighbours(last_of_four).matter()


def test_rounding_that_differs_from_call_to_call_does_not_count() -> None:
    calls = 0

    def rounding(x: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return line(x) * np.float32(1 + 5e-7 * (calls % 3))

    assert 0 < Trials(FakeEngine(rounding), "m.keras").noise < 2e-6
    assert not neighbours(rounding).matter()


def test_neighbours_without_an_effect_are_drawn_until_the_time_is_up() -> None:
    engine = FakeEngine(line)
    tried = Trials(engine, "m.keras")
    assert tried.noise == 0
    before = len(engine.calls)
    times = iter(range(0, 1000, 100))

    assert not Neighbours(tried, clock=lambda: next(times)).matter()
    assert len(engine.calls) - before <= 4 + FEWEST_DRAWS
    assert not Neighbours(tried).matter()
    assert len(engine.calls) - before > DRAWS


@pytest.mark.logs_warnings
def test_a_network_that_answers_at_random_is_batched_and_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    random = np.random.default_rng(0)
    engine = FakeEngine(lambda x: line(x) + random.random(x.shape, "float32"))
    report, _ = prepared(engine, replace(REQUEST, max_rows=0))

    assert report.batch_size.rows > 1
    assert "the model answers the same rows differently at every call" in caplog.text


@pytest.mark.logs_warnings
def test_a_network_that_keeps_state_on_purpose_is_not_compared(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = 0

    def counting(x: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return line(x) + np.float32(calls)

    options = replace(REQUEST.options, keep_state=True)
    prepared(FakeEngine(counting), replace(REQUEST, options=options))
    assert caplog.messages == ["the model keeps state from call to call, and all clients share it"]
