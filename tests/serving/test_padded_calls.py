"""Rows of different lengths, served by a network of numpy in batches of padded rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from model.padding import LengthCost, Padding, PaddingHint
from model.signature import Signature, TensorSpec
from model.tensors import Rows, Tensors, View, merge, split
from server.serving import padded_calls
from server.serving.padded_calls import PaddedCalls, lane_of
from tests.support.fake_engine import SEQUENCES, FakeEngine
from tests.support.harness import over_http, serving, with_settings

PADDING = Padding({"x": 0}, ("y",), (LengthCost(4, 1, 8, 2), LengthCost(8, 1, 8, 2)))
TAGS = Signature(
    (TensorSpec("x", (None,), "float32"),),
    (TensorSpec("y", (None,), "float32"), TensorSpec("sum", (1,), "float32")),
)


class Doubles:
    """Answers with twice each step.

    Attributes:
        shapes: of the input of each call.
    """

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    async def call(self, parts: Sequence[Rows]) -> list[View]:
        x = merge(parts).arrays["x"]
        self.shapes.append(x.shape)
        return split(Tensors({"y": 2 * x}), [len(part) for part in parts])


def rows(*lengths: int) -> list[Tensors]:
    return [Tensors({"x": np.full((2, n), n, "float32")}) for n in lengths]


async def asked(parts: list[Tensors], padding: Padding = PADDING) -> tuple[Doubles, list[View]]:
    model = Doubles()
    return model, await PaddedCalls(model.call, padding).call(parts)


@pytest.mark.gen_test
async def test_one_call_answers_rows_of_different_lengths():
    model, answers = await asked(rows(2, 1, 3))

    assert model.shapes == [(6, 3)]
    expected = [[[4, 4]] * 2, [[2]] * 2, [[6, 6, 6]] * 2]
    assert [answer.arrays["y"].tolist() for answer in answers] == expected


@pytest.mark.gen_test
async def test_rows_of_one_length_are_passed_on_as_they_are():
    model, answers = await asked(rows(3, 3))

    assert model.shapes == [(4, 3)]
    assert answers[0].whole is answers[1].whole


@pytest.mark.gen_test
async def test_rows_that_are_too_long_to_be_padded_are_passed_on_as_they_are():
    model, _ = await asked(rows(9, 9))

    assert model.shapes == [(4, 9)]


@pytest.mark.gen_test
async def test_rows_are_padded_to_one_of_a_few_lengths_where_new_lengths_are_slow():
    few = Padding({"x": 0}, ("y",), PADDING.costs, to_cost_length=True)
    model, answers = await asked(rows(5, 6), few)

    assert model.shapes == [(4, 8)]
    assert [answer.arrays["y"].shape for answer in answers] == [(2, 5), (2, 6)]


@pytest.mark.gen_test
async def test_many_rows_are_padded_in_a_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(padded_calls, "IN_THREAD_BYTES", 8)
    _, answers = await asked(rows(1, 2))

    assert [answer.arrays["y"].tolist() for answer in answers] == [[[2]] * 2, [[4, 4]] * 2]


def test_only_rows_that_can_be_padded_wait_in_lanes():
    lanes = [lane_of(each, PADDING) for each in rows(1, 4, 5, 8, 9)]

    assert lanes[:4] == [0, 0, 1, 1]
    assert lanes[4] == rows(9)[0].row_shape
    assert lane_of(rows(1)[0], None) == rows(1)[0].row_shape


class Tagger(FakeEngine):
    """Answers with each step, and with the sum of the steps."""

    padding_hint = PaddingHint()

    def __init__(self) -> None:
        super().__init__(lambda x: x, TAGS)

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        (x,) = arrays
        self.calls.append(x)
        return [2 * x, x.sum(axis=1, keepdims=True)]


@over_http
async def test_clients_get_answers_as_long_as_their_rows():
    engine = Tagger()
    async with serving(engine) as server:
        calls = len(engine.calls)
        lengths = [1 + 7 * n % 40 for n in range(40)]
        answers = await asyncio.gather(
            *(server.predict([float(length)] * length) for length in lengths)
        )
        for length, answer in zip(lengths, answers, strict=True):
            prediction = answer.json["prediction"]
            assert prediction == {"y": [2.0 * length] * length, "sum": float(length) ** 2}
        assert len(engine.calls) - calls < len(lengths)


@over_http
async def test_rows_of_different_lengths_have_calls_of_their_own_where_padding_is_off():
    engine = FakeEngine(lambda x: x.sum(axis=1, keepdims=True), SEQUENCES)
    engine.padding_hint = PaddingHint()
    async with serving(engine, with_settings(batching={"pad": "off"})) as server:
        calls = len(engine.calls)
        await asyncio.gather(*(server.predict([1.0] * length) for length in range(1, 6)))
        assert sorted(x.shape[1] for x in engine.calls[calls:]) == [1, 2, 3, 4, 5]
