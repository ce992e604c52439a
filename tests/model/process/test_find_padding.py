"""Whether rows may be padded, found out with networks of numpy."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from model.padding import LengthCost, Padding, PaddingHint
from model.process.find_padding import find_padding
from model.process.memory import Memory
from model.process.padding_check import LENGTHS, SECONDS, PaddingCheck
from model.process.padding_cost import PaddingCost, as_ascending
from model.process.trials import Trials
from model.signature import Signature, TensorSpec
from tests.support.fake_engine import NUMBERS, REQUEST, SEQUENCES, FakeEngine, Network, prepared

MASKED = PaddingHint()
STEPS = Signature(SEQUENCES.inputs, (TensorSpec("y", (None,), "float32"),))


def sum_of_steps(x: np.ndarray) -> np.ndarray:
    """Zeros add nothing."""
    return x.sum(axis=1, keepdims=True)


def mean_of_steps(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def log_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "model.process")


def engine_of(
    network: Network, signature: Signature = SEQUENCES, hint: PaddingHint | None = MASKED
) -> FakeEngine:
    engine = FakeEngine(network, signature)
    engine.padding_hint = hint
    return engine


def found(engine: FakeEngine, pad: str = "auto", max_rows: int = 8) -> Padding | None:
    return find_padding(Trials(engine, "m.keras"), pad, max_rows, 60.0)


def test_rows_are_padded_where_answers_do_not_change(caplog: pytest.LogCaptureFixture) -> None:
    padding = found(engine_of(sum_of_steps))

    assert padding is not None
    assert padding.values == {"x": 0}
    assert padding.outputs == ()
    assert [cost.length for cost in padding.costs] == list(LENGTHS)
    assert "rows of different lengths share a batch: up to 512 steps" in caplog.text


def test_rows_are_padded_with_the_value_that_is_masked() -> None:
    engine = engine_of(
        lambda x: np.where(x == -9, 0, x).sum(axis=1, keepdims=True),
        hint=PaddingHint({"x": -9.0}),
    )
    padding = found(engine)

    assert padding is not None
    assert padding.values == {"x": -9.0}
    assert found(engine_of(engine._network)) is not None  # zeros add nothing, either


def test_outputs_with_a_value_for_each_step_are_found() -> None:
    padding = found(engine_of(lambda x: 2 * x, STEPS))

    assert padding is not None
    assert padding.outputs == ("y",)


def only_at(length: int) -> Network:
    def network(x: np.ndarray) -> np.ndarray:
        more = np.float32(x.shape[1] == length)
        return sum_of_steps(x) + more * (x[:, -1:] == 0)

    return network


def in_company(x: np.ndarray) -> np.ndarray:
    """Padding changes answers in a batch of several rows alone."""
    return sum_of_steps(x) + np.float32(len(x) > 2) * (x[:, -1:] == 0)


NOT_PADDED: dict[str, tuple[FakeEngine, str]] = {
    "mean": (engine_of(mean_of_steps), "answers to rows padded to 8 steps differ by"),
    "one long length": (engine_of(only_at(512)), "answers to rows padded to 512 steps differ by"),
    "in company": (engine_of(in_company), "answers to rows padded to 8 steps differ by"),
    "half as many steps": (
        engine_of(lambda x: x[:, ::2], STEPS),
        "the output y has another number of steps than the input",
    ),
    "steps in turn": (
        engine_of(lambda x: x[:, ::-1], STEPS),
        "answers to rows padded to 8 steps differ by",
    ),
    "no mask": (
        engine_of(sum_of_steps, hint=PaddingHint(why_not="the layer a (B) gets no mask")),
        "the layer a (B) gets no mask (batching.pad: on pads them all the same)",
    ),
    "unknown layers": (
        engine_of(sum_of_steps, hint=None),
        "its layers are not known, as those of a SavedModel or an ONNX file",
    ),
    "images": (
        engine_of(
            lambda x: x.sum(axis=(1, 2))[:, None],
            Signature((TensorSpec("x", (None, None), "float32"),), SEQUENCES.outputs),
        ),
        "the input x varies in other axes than the first",
    ),
}


@pytest.mark.parametrize("kind", NOT_PADDED)
def test_rows_are_not_padded_and_the_log_says_why(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, why = NOT_PADDED[kind]

    assert found(engine) is None
    assert f"only rows of one length share a batch: {why}" in caplog.text


def test_a_call_with_one_row_needs_no_padding(caplog: pytest.LogCaptureFixture) -> None:
    assert found(engine_of(sum_of_steps), max_rows=1) is None
    assert "a call has one row" in caplog.text


def test_nothing_is_called_where_padding_is_off_or_no_size_varies() -> None:
    off, fixed = engine_of(mean_of_steps), engine_of(lambda x: x, NUMBERS)

    assert found(off, "off") is None
    assert found(fixed) is None
    assert not off.calls
    assert not fixed.calls


@pytest.mark.logs_warnings
@pytest.mark.parametrize("kind", ["mean", "one long length", "no mask", "unknown layers"])
def test_a_user_can_switch_padding_on_by_hand_and_is_warned(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, _ = NOT_PADDED[kind]
    padding = found(engine, "on")

    assert padding is not None
    assert padding.costs[-1].length == LENGTHS[-1]
    assert "batching.pad is on, though" in caplog.text


@pytest.mark.logs_warnings
@pytest.mark.parametrize("kind", ["half as many steps", "images"])
def test_what_cannot_be_padded_is_not_padded_by_hand_either(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, why = NOT_PADDED[kind]

    assert found(engine, "on") is None
    assert why in caplog.text


def test_lengths_that_the_network_rejects_are_left_out() -> None:
    def short(x: np.ndarray) -> np.ndarray:
        if x.shape[1] > 40:
            raise ValueError("too long")
        return sum_of_steps(x)

    padding = found(engine_of(short))
    assert padding is not None
    assert [cost.length for cost in padding.costs] == [8, 16, 32]


def test_long_lengths_are_left_out_where_there_is_no_time() -> None:
    times = iter([0.0, SECONDS + 1])
    check = PaddingCheck(Trials(engine_of(sum_of_steps), "m"), {"x": 0}, clock=lambda: next(times))

    assert check.proved(()) == [8, 16, 32]


def test_a_report_has_what_was_found() -> None:
    report, steps = prepared(engine_of(sum_of_steps), replace(REQUEST, pad="auto"))

    assert report.padding is not None
    assert "comparing padded rows with others" in steps
    assert prepared(engine_of(sum_of_steps))[0].padding is None


# What calls cost


class Clock:
    """Is moved on by each call of a network."""

    def __init__(self, seconds: Callable[[int, int], float]) -> None:
        self.now = 0.0
        self._seconds = seconds
        self.seen: set[int] = set()

    def __call__(self) -> float:
        return self.now

    def network(self, x: np.ndarray) -> np.ndarray:
        self.now += self._seconds(*x.shape)
        self.seen.add(x.shape[1])
        return sum_of_steps(x)


def cost_of(clock: Clock, max_rows: int = 64, max_seconds: float = 0.05) -> PaddingCost:
    trials = Trials(engine_of(clock.network), "m")
    trials.find_rows()
    clock.seen.clear()
    return PaddingCost(trials, max_rows, max_seconds, clock, Memory())


def test_each_length_is_timed_with_one_row_and_with_many() -> None:
    clock = Clock(lambda rows, length: 1e-4 * length + 1e-6 * rows * length)
    costs = cost_of(clock).measure([8, 16])

    assert [cost.length for cost in costs] == [8, 16]
    assert [cost.rows for cost in costs] == [64, 64]
    assert [cost.one_row for cost in costs] == pytest.approx([8.08e-4, 16.16e-4])
    assert [cost.all_rows for cost in costs] == pytest.approx([13.12e-4, 26.24e-4])


def test_a_call_has_fewer_rows_where_it_would_take_too_long() -> None:
    clock = Clock(lambda rows, length: 1e-4 * rows * length)
    costs = cost_of(clock).measure([8, 64])

    assert [cost.rows for cost in costs] == [32, 4]
    assert costs[0].all_rows <= 0.05


def test_lengths_of_which_a_call_can_have_one_row_are_left_out() -> None:
    def seconds(rows: int, length: int) -> float:
        return 1e-4 if length < 16 else 0.1 * rows**4

    assert [cost.length for cost in cost_of(Clock(seconds)).measure([8, 16, 32])] == [8]


def test_no_further_length_is_timed_after_a_while() -> None:
    clock = Clock(lambda rows, length: 1.0)

    assert [cost.length for cost in cost_of(clock).measure([8, 16, 32])] == [8]


def test_a_call_that_was_disturbed_counts_no_more_than_one_with_longer_rows() -> None:
    costs = [LengthCost(8, 9, 11, 8), LengthCost(16, 2, 11, 4), LengthCost(32, 3, 6, 9)]

    assert as_ascending(costs) == (
        LengthCost(8, 2, 11, 4),
        LengthCost(16, 2, 11, 4),
        LengthCost(32, 3, 6, 9),
    )


def test_calls_with_new_lengths_that_take_longer_are_noticed() -> None:
    def seconds(rows: int, length: int) -> float:
        return 1.0 if length in clock.seen else 3.0

    clock = Clock(seconds)
    assert cost_of(clock).is_slow_at_new_lengths(32)
    assert not cost_of(Clock(lambda rows, length: 1.0)).is_slow_at_new_lengths(32)
