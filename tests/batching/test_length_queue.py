"""Rows of different lengths in one batch: which of them share it, and in which order."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.batching import LaneCost, LengthPlan
from server.batching.length_plan import CALL_SECONDS
from server.batching.length_queue import LengthQueue

# Four lanes. A call takes long, and further rows take almost no time: as in a recurrent network.
BY_STEPS = LengthPlan([LaneCost(0.01 * 2**lane, 64, 0.0101 * 2**lane) for lane in range(4)])
# Each step of each row takes as long: padding is never worth it.
BY_CELLS = LengthPlan([LaneCost(0.1 * 2**lane, 64, 6.4 * 2**lane) for lane in range(4)])


class Job:
    """A request as the queue sees it."""

    def __init__(self, name: str, shape: Hashable, size: int = 1) -> None:
        self.name = name
        self.size = size
        self.shape = shape
        self.nbytes = size
        self.taken = 0
        self.gone = False

    def done(self) -> bool:
        return self.gone


def queue_of(*jobs: Job, plan: LengthPlan = BY_STEPS, max_rows: int = 4) -> LengthQueue[Job]:
    queue: LengthQueue[Job] = LengthQueue(max_rows, plan)
    for job in jobs:
        queue.add(job)
    return queue


def take(queue: LengthQueue[Job]) -> list[tuple[str, int, int]]:
    """Take a batch; return its pieces by name."""
    return sorted((piece.job.name, piece.start, piece.stop) for piece in queue.take())


def names(queue: LengthQueue[Job]) -> list[str]:
    return [name for name, *_ in take(queue)]


def test_rows_of_all_lengths_share_a_batch_where_rows_take_almost_no_time():
    queue = queue_of(Job("a", 3), Job("b", 0), Job("c", 1))

    assert names(queue) == ["a", "b", "c"]
    assert names(queue) == []
    assert (queue.rows, queue.nbytes) == (0, 0)


def test_rows_are_not_padded_where_that_takes_longer_than_a_call_of_their_own():
    queue = queue_of(Job("a", 3), Job("b", 0), Job("c", 3), plan=BY_CELLS)

    assert [names(queue) for _ in range(3)] == [["a", "c"], ["b"], []]


def test_the_request_that_came_first_is_in_the_next_batch():
    queue = queue_of(Job("a", 0), Job("b", 3), Job("c", 0), plan=BY_CELLS)

    assert [names(queue) for _ in range(2)] == [["a", "c"], ["b"]]


def test_a_full_batch_is_taken_in_order_whatever_the_lengths():
    lanes = {"a": 3, "b": 0, "c": 1, "d": 0, "e": 2, "f": 3}
    queue = queue_of(*(Job(name, lane) for name, lane in lanes.items()))

    assert names(queue) == ["a", "b", "c", "d"]
    assert names(queue) == ["e", "f"]


def test_a_large_request_is_cut_and_small_ones_of_other_lengths_go_before_its_rest():
    queue = queue_of(Job("large", 1, 6), Job("a", 0), Job("b", 3))

    assert take(queue) == [("large", 0, 4)]
    assert take(queue) == [("a", 0, 1), ("b", 0, 1), ("large", 4, 6)]


def test_rows_that_cannot_be_padded_have_batches_of_their_own():
    queue = queue_of(Job("a", ("x", 900)), Job("b", 0), Job("c", ("x", 900)), Job("d", 3))

    assert [names(queue) for _ in range(2)] == [["a", "c"], ["b", "d"]]


def test_a_batch_has_no_more_rows_than_its_longest_rows_allow():
    plan = LengthPlan([LaneCost(0.001, 64, 0.001), LaneCost(0.001, 2, 0.001)])
    queue = queue_of(*(Job(name, 1) for name in "abc"), plan=plan, max_rows=64)

    assert [names(queue) for _ in range(2)] == [["a", "b"], ["c"]]


def test_requests_that_are_gone_are_left_out():
    gone = Job("gone", 1)
    queue = queue_of(Job("a", 0), gone, Job("b", 3))
    gone.gone = True
    queue.remove(gone)

    assert names(queue) == ["a", "b"]
    assert (queue.rows, queue.nbytes) == (0, 0)


def test_lanes_that_share_batches_count_as_one_batch_ahead():
    queue = queue_of(Job("a", 0), Job("b", 1), Job("c", 2))

    assert queue.ahead(3)[0] == 0
    assert queue.ahead(("x", 900))[0] == 1
    full = queue_of(*(Job(f"{n}", n % 4) for n in range(9)))
    assert full.ahead(3)[0] == 2


def test_lanes_that_have_batches_of_their_own_count_as_many():
    queue = queue_of(*(Job(f"{lane}", lane) for lane in range(4)), plan=BY_CELLS)
    assert names(queue) == ["0"]
    queue.add(Job("0", 0))

    assert queue.ahead(3)[0] == 3


def partitions(lanes: list[int]) -> Iterator[list[list[int]]]:
    """Yield every way to cut a list into groups of neighbours."""
    if not lanes:
        yield []
    for stop in range(1, len(lanes) + 1):
        for rest in partitions(lanes[stop:]):
            yield [lanes[:stop], *rest]


positive = st.floats(1e-6, 1.0)


@given(
    st.lists(st.tuples(positive, st.integers(2, 64), positive), min_size=1, max_size=5),
    st.lists(st.integers(0, 90), min_size=5, max_size=5),
)
def test_groups_take_the_least_time(costs: list[tuple[float, int, float]], rows: list[int]) -> None:
    lanes = [LaneCost(one, most, one + more) for one, most, more in costs]
    waiting = {lane: count for lane, count in zip(range(len(lanes)), rows, strict=False) if count}
    if not waiting:
        return
    plan = LengthPlan(lanes)
    found = {tuple(plan.group_of(head, waiting)) for head in waiting}

    def seconds(groups: list[list[int]]) -> float:
        return sum(
            lanes[group[-1]].seconds(sum(waiting[lane] for lane in group)) for group in groups
        )

    assert sorted(lane for group in found for lane in group) == sorted(waiting)
    least = min(seconds(groups) for groups in partitions(sorted(waiting)))
    assert seconds([list(group) for group in found]) == pytest.approx(least)


def test_a_call_costs_what_was_measured_and_the_messages():
    cost = LaneCost(0.01, 11, 0.03)

    assert cost.seconds(1) == pytest.approx(0.01 + CALL_SECONDS)
    assert cost.seconds(6) == pytest.approx(0.02 + CALL_SECONDS)
    assert cost.seconds(22) == pytest.approx(0.06 + 2 * CALL_SECONDS)


def jobs(most_rows: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Lanes and sizes of requests."""
    return st.lists(st.tuples(st.integers(0, 5), st.integers(1, most_rows)), max_size=30)


scripts = st.one_of(st.tuples(jobs(most), jobs(most)) for most in (1, 9))


@given(scripts, st.sampled_from([BY_STEPS, BY_CELLS]))
def test_every_row_is_taken_once_and_the_oldest_small_request_is_never_left_out(
    script: tuple[list[tuple[int, int]], list[tuple[int, int]]], plan: LengthPlan
) -> None:
    """Lanes 4 and 5 are shapes that cannot be padded."""
    first, later = script

    def made(numbers: list[tuple[int, int]]) -> list[Job]:
        return [Job(f"{n}", n if n < 4 else ("x", n), size) for n, size in numbers]

    queue = queue_of(*(waiting := made(first)), plan=plan)
    taken: dict[Job, int] = dict.fromkeys(waiting, 0)
    coming = iter(made(later))
    while pieces := queue.take():
        oldest = next(job for job in waiting if taken[job] < job.size)
        if all(job.size == 1 for job in waiting):  # large requests give way to small ones
            assert any(piece.job is oldest for piece in pieces)
        shapes = {piece.job.shape for piece in pieces}
        assert len(shapes) == 1 or all(isinstance(shape, int) for shape in shapes)
        assert sum(map(len, pieces)) <= queue.max_rows
        for job, start, stop in pieces:
            assert taken[job] == start
            taken[job] = stop
        if job := next(coming, None):
            queue.add(job)
            waiting.append(job)
            taken[job] = 0
    assert all(taken[job] == job.size for job in waiting)
    assert (queue.rows, queue.nbytes) == (0, 0)
