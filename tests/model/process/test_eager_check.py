"""Traced networks compared with their layers called one by one, with networks of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from model.formats.files import ModelError
from model.formats.windows import SMALLER_THAN_WINDOW
from model.process.batch_size import BatchSize
from model.process.eager_check import EagerCheck
from model.process.prepare import prepare
from model.process.trials import Trials
from model.signature import Signature, TensorSpec
from tests.support.fake_engine import (
    NUMBERS,
    REQUEST,
    SEQUENCES,
    FakeEngine,
    Network,
    line,
    prepared,
)

CLASSES = Signature(NUMBERS.inputs, (TensorSpec("y", (), "int64"),))


def both(traced: Network, layers: Network, signature: Signature = NUMBERS) -> FakeEngine:
    engine = FakeEngine(traced, signature)
    engine.eager = FakeEngine(layers, signature)
    return engine


def difference(traced: Network, layers: Network, signature: Signature = NUMBERS) -> float:
    engine = both(traced, layers, signature)
    assert engine.eager
    return EagerCheck(Trials(engine, "m.keras"), engine.eager).difference()


def mean(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=1, keepdims=True)


def test_networks_that_answer_alike_are_called_traced() -> None:
    engine = both(line, line)
    report, steps = prepared(engine)

    assert not report.is_eager
    assert "comparing the traced model with its layers called one by one" in steps
    assert engine.eager
    assert {1, 2, 7, 16} <= {len(x) for x in engine.eager.calls}


def test_rounding_is_no_difference() -> None:
    assert difference(lambda x: line(x) * np.float32(1.00001), line) < 1e-4


def test_answers_that_differ_are_measured_by_their_largest_value() -> None:
    assert difference(lambda x: line(x) * np.float32(1.01), line) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("rows", [1, 2, 7, 16])
def test_a_difference_at_one_number_of_rows_is_found(rows: int) -> None:
    assert difference(lambda x: line(x) + np.float32(len(x) == rows), line) > 0.1


@pytest.mark.parametrize("size", [1, 2, 5, 19])
def test_a_difference_at_one_size_is_found(size: int) -> None:
    def wrong(x: np.ndarray) -> np.ndarray:
        return mean(x) + np.float32(x.shape[1] == size)

    assert difference(wrong, mean, SEQUENCES) > 0.1


def test_other_shapes_and_nan_are_a_difference() -> None:
    assert difference(lambda x: np.ones((len(x), 2), "float32"), line) == np.inf
    assert difference(lambda x: line(x) * np.float32(np.nan), line) == np.inf
    assert difference(lambda x: line(x) * np.float32(np.inf), line) == np.inf


def no_long_ones(x: np.ndarray) -> np.ndarray:
    if x.shape[1] > 5:
        raise ValueError("too long")
    return mean(x)


def test_rows_that_the_traced_network_alone_rejects_are_a_difference() -> None:
    assert difference(no_long_ones, mean, SEQUENCES) == np.inf
    assert difference(no_long_ones, no_long_ones, SEQUENCES) == 0
    assert difference(mean, no_long_ones, SEQUENCES) == 0


def test_input_smaller_than_a_window_is_not_tried_layer_by_layer() -> None:
    """TensorFlow may end the process."""
    tried: list[int] = []

    def windowed(x: np.ndarray) -> np.ndarray:
        if x.shape[1] < 4:
            raise ValueError(f"{SMALLER_THAN_WINDOW} 4 at least, and is given {x.shape[1]}")
        return mean(x)

    def layers(x: np.ndarray) -> np.ndarray:
        tried.append(x.shape[1])
        return mean(x)

    assert difference(windowed, layers, SEQUENCES) == 0
    assert min(tried) == 4


def test_without_memory_for_a_number_of_rows_nothing_is_said() -> None:
    def short(x: np.ndarray) -> np.ndarray:
        if len(x) > 2:
            raise MemoryError
        return line(x)

    assert difference(short, line) == 0


class Decided(FakeEngine):
    """Layers whose decisions are clear in all rows but the first."""

    def margins(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.where(np.arange(len(arrays[0])) == 0, 1e-5, 0.5)


@pytest.mark.parametrize("row, found", [(0, 0.0), (1, 1.0)])
def test_decisions_differ_where_they_are_clear(row: int, found: float) -> None:
    def classes(x: np.ndarray) -> np.ndarray:
        return np.zeros(len(x), "int64")

    def other(x: np.ndarray) -> np.ndarray:
        return np.array([i == row for i in range(len(x))], "int64")

    engine = both(other, classes, CLASSES)
    assert EagerCheck(Trials(engine, "m.keras"), Decided(classes, CLASSES)).difference() == found


@pytest.mark.parametrize("half, is_eager", [(True, False), (False, True)])
@pytest.mark.logs_warnings
def test_networks_of_16_bits_may_differ_more(half: bool, is_eager: bool) -> None:
    engine = both(lambda x: line(x) * np.float32(1.005), line)
    engine.is_half_precision = half

    assert prepared(engine)[0].is_eager is is_eager


@pytest.mark.logs_warnings
def test_a_network_that_is_traced_wrongly_is_called_layer_by_layer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = both(lambda x: -line(x), line)
    loaded, report = prepare(lambda _: engine, REQUEST)

    assert loaded is engine.eager
    assert report.is_eager
    assert report.golden[0].answer.arrays["y"].tolist() == [[31]]
    assert "Keras calls it layer by layer instead, which takes longer" in caplog.text


@pytest.mark.logs_warnings
def test_a_network_that_fails_traced_is_called_layer_by_layer() -> None:
    def fail(_: np.ndarray) -> np.ndarray:
        raise ValueError("traced")

    assert prepare(lambda _: both(fail, line), REQUEST)[1].is_eager


def test_a_network_that_fails_both_ways_is_rejected() -> None:
    def fail(_: np.ndarray) -> np.ndarray:
        raise MemoryError("always")

    with pytest.raises(ModelError, match="always"):
        prepare(lambda _: both(fail, fail), REQUEST)


def test_a_version_that_is_started_again_is_not_compared() -> None:
    engine = both(lambda x: -line(x), line)
    report, _ = prepared(engine, replace(REQUEST, is_restart=True))

    assert report.batch_size == BatchSize(4)
    assert engine.eager
    assert engine.eager.calls == []


@pytest.mark.logs_warnings
def test_a_random_network_is_not_compared_with_its_layers() -> None:
    random = np.random.default_rng(0)
    engine = both(lambda x: line(x) + random.random(x.shape, "float32"), line)

    assert not prepared(engine)[0].is_eager


def test_calls_end_after_a_time() -> None:
    engine = both(line, line)
    times = iter([0.0, 100.0, 200.0])
    assert engine.eager
    check = EagerCheck(Trials(engine, "m.keras"), engine.eager, clock=lambda: next(times))

    assert check.difference() == 0
    assert check.calls == 1


def test_a_network_that_merges_its_rows_is_refused_with_what_to_do() -> None:
    def merging(x: np.ndarray) -> np.ndarray:
        return line(x)[:1]

    with pytest.raises(ModelError, match="the model fails on a batch of 2, all zeros: 1 rows"):
        prepare(lambda _: both(merging, merging), REQUEST)
