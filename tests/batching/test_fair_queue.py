"""The fair queue by itself: which rows go into the next batch."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from server.batching.fair_queue import FairQueue
from tests.support.fakes import keeping_less_than


class Job:
    """A request as the queue sees it."""

    def __init__(self, name: str, size: int, *, shape: Hashable = (), nbytes: int = 0) -> None:
        self.name = name
        self.size = size
        self.shape = shape
        self.nbytes = nbytes
        self.taken = 0
        self.gone = False

    def done(self) -> bool:
        """Return whether it is settled."""
        return self.gone


def queue_of(*jobs: Job, max_rows: int = 4) -> FairQueue[Job]:
    """Return a queue with these requests, the first one first."""
    queue: FairQueue[Job] = FairQueue(max_rows)
    for job in jobs:
        queue.add(job)
    return queue


def leave(queue: FairQueue[Job], job: Job) -> None:
    """Settle and remove a request."""
    job.gone = True
    queue.remove(job)


def take(queue: FairQueue[Job]) -> list[tuple[str, int, int]]:
    """Take a batch; return its pieces by name."""
    return [(piece.job.name, piece.start, piece.stop) for piece in queue.take()]


def counted(queue: FairQueue[Job]) -> tuple[int, int]:
    return queue.rows, queue.nbytes


def test_a_batch_is_filled_in_order_and_the_last_request_is_cut():
    queue = queue_of(Job("a", 3), Job("b", 3), Job("c", 1))

    assert take(queue) == [("a", 0, 3), ("b", 0, 1)]
    assert take(queue) == [("c", 0, 1), ("b", 1, 3)]
    assert take(queue) == []


def test_small_requests_go_before_the_rest_of_a_large_one():
    queue = queue_of(Job("large", 10), Job("a", 1), Job("b", 1))

    assert take(queue) == [("large", 0, 4)]
    queue.add(Job("c", 1))
    assert take(queue) == [("a", 0, 1), ("b", 0, 1), ("c", 0, 1), ("large", 4, 5)]
    assert take(queue) == [("large", 5, 9)]
    assert take(queue) == [("large", 9, 10)]


def test_large_requests_take_turns():
    queue = queue_of(Job("a", 12), Job("b", 12))

    taken = [take(queue) for _ in range(6)]
    assert [pieces[0][0] for pieces in taken] == ["a", "b", "a", "b", "a", "b"]
    assert all(len(pieces) == 1 for pieces in taken)


def test_a_batch_has_one_shape_and_the_first_request_goes_first():
    queue = queue_of(Job("a", 1, shape=1), Job("b", 1, shape=2), Job("c", 2, shape=1))

    assert take(queue) == [("a", 0, 1), ("c", 0, 2)]
    queue.add(Job("d", 4, shape=1))
    assert take(queue) == [("b", 0, 1)]
    assert take(queue) == [("d", 0, 4)]


@pytest.mark.parametrize("size", [10, 5])
def test_a_new_request_does_not_overtake_a_rest_that_has_waited_longer(size):
    """The rest of `y` is tagged 2; `x` is served up to 3, so later requests are tagged 3.

    That batch is full, or takes all that waits of its shape.
    """
    queue = queue_of(Job("y1", 2, shape="y"), Job("y", 6, shape="y"))
    assert take(queue) == [("y1", 0, 2), ("y", 0, 2)]
    queue.add(Job("x1", 1, shape="x"))
    queue.add(Job("x", size, shape="x"))
    assert take(queue) == [("x1", 0, 1), ("x", 0, 3)]
    queue.add(Job("x2", 1, shape="x"))
    assert take(queue) == [("x2", 0, 1), ("x", 3, min(size, 6))]
    queue.add(Job("y2", 4, shape="y"))

    assert take(queue) == [("y", 2, 6)]
    assert take(queue) == [("y2", 0, 4)]


@pytest.mark.parametrize("others, batches", [(2, 6), (3, 8)])
def test_small_requests_that_fill_all_batches_do_not_starve_a_large_one(others, batches):
    """Its rest is tagged 4, and goes before those tagged 8, from after two batches of credit.

    Among three requests a batch adds a credit of 4/3 rows, among four of one row.
    """
    queue = queue_of(Job("large", 100))
    assert take(queue) == [("large", 0, 4)]
    for _ in range(others):
        queue.add(Job("small", 2))
    for _ in range(batches):
        assert take(queue) == [("small", 0, 2), ("small", 0, 2)]
        queue.add(Job("small", 2))
        queue.add(Job("small", 2))

    assert "large" in [name for name, _, _ in take(queue)]


@pytest.mark.parametrize(
    "jobs, shape, ahead",
    [
        ([], 1, (0, 0)),
        ([Job("a", 3, shape=1)], 1, (0, 0)),
        ([Job("a", 4, shape=1)], 1, (1, 4)),
        ([Job("a", 3, shape=1) for _ in range(3)], 1, (2, 8)),
        ([Job("a", 100, shape=1)], 1, (1, 4)),
        ([Job("a", 1, shape=2)], 1, (1, 1)),
        ([Job("a", 3, shape=2), Job("b", 3, shape=2)], 1, (2, 6)),
        ([Job("a", 3, shape=2), Job("b", 3, shape=1), Job("c", 3, shape=1)], 1, (2, 7)),
        ([Job("a", 4, shape=2), Job("b", 2, shape=1)], 1, (1, 4)),
    ],
)
def test_ahead_counts_the_batches_before_a_new_request(jobs, shape, ahead):
    """Full batches of its own shape, as it joins the last one; all batches of other shapes."""
    assert queue_of(*jobs).ahead(shape) == ahead


def test_rows_and_bytes_are_counted():
    a, b, c = Job("a", 2, nbytes=10), Job("b", 9, nbytes=20), Job("c", 1, shape=2, nbytes=5)
    queue = queue_of(a, b, c)
    assert counted(queue) == (12, 35)

    take(queue)  # a, and two rows of b, whose bytes wait until its last row is taken
    assert counted(queue) == (8, 25)
    take(queue)  # c
    assert counted(queue) == (7, 20)
    take(queue)
    assert (queue.ahead(()), counted(queue)) == ((0, 0), (3, 20))
    leave(queue, b)
    assert counted(queue) == (0, 0)
    leave(queue, b)
    assert (counted(queue), take(queue)) == ((0, 0), [])


def test_a_removed_request_is_not_taken_and_not_counted_ahead():
    jobs = [Job(str(n), 2) for n in range(6)]
    queue = queue_of(*jobs)
    leave(queue, jobs[0])
    leave(queue, jobs[3])

    assert queue.ahead(()) == (2, 8)
    assert take(queue) == [("1", 0, 2), ("2", 0, 2)]
    assert take(queue) == [("4", 0, 2), ("5", 0, 2)]


def test_a_large_request_counts_as_one_batch_until_it_is_removed():
    large = Job("large", 100)
    queue = queue_of(large, Job("a", 3))
    take(queue)
    assert queue.ahead(()) == (1, 4)
    leave(queue, large)
    assert queue.ahead(()) == (0, 0)


def test_removed_requests_take_no_memory():
    queue = queue_of(Job("stays", 1))
    with keeping_less_than(100_000):  # 5 bytes for each
        for n in range(20_000):
            job = Job(str(n), 1)
            queue.add(job)
            leave(queue, job)
    assert take(queue) == [("stays", 0, 1)]
