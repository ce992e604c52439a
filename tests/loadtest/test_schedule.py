"""When requests are due."""

from __future__ import annotations

from itertools import islice, pairwise
from random import Random

import pytest

from server.loadtest.schedule import ClosedLoop, OpenLoop, constant_arrivals, poisson_arrivals


def test_constant_arrivals_are_exactly_evenly_spaced():
    """Rounding errors do not add up: the thousandth arrival is exact."""
    arrivals = list(islice(constant_arrivals(10), 1001))

    assert arrivals[:3] == [0, 0.1, 0.2]
    assert arrivals[1000] == 100


def test_poisson_arrivals_have_exponential_gaps():
    """Mean and standard deviation of the gaps are 1 / rate."""
    arrivals = list(islice(poisson_arrivals(100, Random(1)), 20_001))
    gaps = [later - sooner for sooner, later in pairwise(arrivals)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5

    assert mean == pytest.approx(0.01, rel=0.05)
    assert deviation == pytest.approx(0.01, rel=0.05)


def test_poisson_arrivals_are_the_same_for_the_same_seed():
    """A load test can be repeated."""
    first, again = (list(islice(poisson_arrivals(5, Random(7)), 9)) for _ in range(2))

    assert first == again


def test_a_closed_loop_has_a_request_due_until_its_duration_is_over():
    """However many requests were taken."""
    schedule = ClosedLoop(duration=2)

    assert [schedule.take(now) for now in (0, 0.5, 1.9)] == [0, 0.5, 1.9]
    assert schedule.waiting(1.99)
    assert not schedule.waiting(2)
    assert schedule.finished(2)


def test_a_closed_loop_ends_after_its_number_of_requests():
    """Before the end of its duration."""
    schedule = ClosedLoop(requests=2)
    schedule.take(0)
    schedule.take(0)

    assert schedule.finished(0)


def test_an_open_loop_keeps_the_time_at_which_a_request_was_due():
    """The latency includes the time in the queue."""
    schedule = OpenLoop(constant_arrivals(10), duration=1)

    assert schedule.waiting(0.35) == 4
    assert [schedule.take(0.35) for _ in range(4)] == [0, 0.1, 0.2, pytest.approx(0.3)]
    assert schedule.waiting(0.35) == 0
    assert schedule.next_arrival(0.35) == 0.4


def test_an_open_loop_sends_rate_times_duration_requests():
    """A request that is due exactly at the end is not sent."""
    schedule = OpenLoop(constant_arrivals(10), duration=3)

    assert schedule.waiting(99) == 30
    assert schedule.next_arrival(99) is None


def test_an_open_loop_is_finished_when_its_queue_is_empty_and_its_duration_over():
    """One of the two is not enough."""
    schedule = OpenLoop(constant_arrivals(1), duration=1)

    assert schedule.waiting(0.5)
    assert not schedule.finished(2)
    schedule.take(0.5)
    assert not schedule.finished(0.5)
    assert schedule.finished(2)


def test_an_arrival_between_two_checks_is_found_by_the_second():
    """An arrival that is not yet in the queue is still the next arrival."""
    schedule = OpenLoop(constant_arrivals(10), requests=1)

    assert not schedule.finished(0.5)
    assert schedule.next_arrival(0.5) == 0


def test_an_open_loop_drops_requests_that_waited_too_long():
    """Only those are dropped, and the others keep their order."""
    schedule = OpenLoop(constant_arrivals(10), requests=5)
    schedule.waiting(9)

    assert schedule.give_up(before=0.15) == 2
    assert schedule.take(9) == 0.2


@pytest.mark.parametrize(
    "schedule, unsent",
    [
        (ClosedLoop(requests=7), 7),
        (ClosedLoop(duration=7), 0),
        (OpenLoop(constant_arrivals(10), requests=7), 3),
    ],
)
def test_closing_a_schedule_returns_the_unsent_requests(schedule, unsent):
    """Requests of a closed loop without a number, and arrivals in the future, do not count."""
    schedule.waiting(0.25)

    assert schedule.close() == unsent
    assert schedule.finished(0.25)
