"""A sweep with a fake load generator: no sockets, and no time passes."""

from __future__ import annotations

import asyncio

import pytest

from tests.loadtest.fakes import FakeLoad, result_of, sweep_of


@pytest.mark.parametrize("refuses", [False, True], ids=["answers late", "refuses"])
def test_the_knee_of_a_server_that_cannot_keep_up(refuses):
    result = result_of(1_000, refuses=refuses)
    knee = result["knee"]

    assert knee["rate"] <= 1_000 < knee["above"] * 1.01
    assert knee["limit"] == "server"
    assert result["steps"][knee["step"]]["rate"] == knee["rate"]
    assert result["steps"][knee["step"]]["met"]


def test_rejections_are_counted_in_each_step():
    over = [step for step in result_of(1_000, refuses=True)["steps"] if step["rate"] > 1_100]

    assert over
    assert all(step["statuses"] == {"503": step["due"]} for step in over)


def test_a_sweep_ends_at_the_highest_rate():
    result = result_of(1e9, most=400)

    assert [step["rate"] for step in result["steps"]] == [100, 200, 400]
    assert (result["knee"]["rate"], result["knee"]["above"], result["ended_by"]) == (400, None, "")


def test_a_server_that_stops_ends_the_sweep_with_the_steps_so_far():
    """The third load is the second step, since the first one is the warm-up."""
    sweep = sweep_of(FakeLoad(1e9, gone_after=3))
    figures = asyncio.run(sweep.run())

    assert [step["rate"] for step in figures["steps"]] == [100, 200]
    assert figures["knee"]["rate"] == 100
    assert "no longer accepts connections" in figures["ended_by"]


def test_a_stopped_sweep_keeps_its_steps():
    class StopsAtThird(FakeLoad):
        async def run(self):
            await super().run()
            if self.runs == 3:
                sweep.stop()

    sweep = sweep_of(StopsAtThird(1e9))
    figures = asyncio.run(sweep.run())

    assert [step["rate"] for step in figures["steps"]] == [100]
    assert figures["ended_by"] == "it was stopped"


def test_steps_at_given_rates_do_not_search():
    steps = asyncio.run(sweep_of(FakeLoad(150)).at([100, 200]))

    assert [(step["rate"], step["met"]) for step in steps] == [(100, True), (200, False)]
