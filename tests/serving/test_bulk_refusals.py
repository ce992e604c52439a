"""When the event loop steps aside for a model that has more to do than it can."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from server.serving.bulk_refusals import GATHER_SECONDS, BulkRefusals
from server.serving.model_thread import ModelThread

pytestmark = pytest.mark.gen_test


class Diary:
    """Stands in for a model's thread, and writes down for how long the loop steps aside."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def step_aside(self, seconds: float) -> None:
        """Write it down."""
        self.steps.append(seconds)


@pytest.fixture
def diary() -> Diary:
    return Diary()


async def a_few_turns() -> None:
    """Let the event loop do what it has been told to."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_it_does_so_once_for_all_refusals_of_a_turn(diary):
    refusals = BulkRefusals(cast(ModelThread, diary))
    for reason in ("queue_full", "queue_wait", "queue_wait"):
        refusals.refused(reason)
    assert diary.steps == []  # they are answered before
    await a_few_turns()
    assert diary.steps == [GATHER_SECONDS]

    refusals.refused("queue_wait")
    await a_few_turns()
    assert diary.steps == 2 * [GATHER_SECONDS]


async def test_it_does_not_where_the_load_is_not_to_blame(diary):
    refusals = BulkRefusals(cast(ModelThread, diary))
    refusals.refused("too_large")
    refusals.refused("draining")
    await a_few_turns()

    assert diary.steps == []
