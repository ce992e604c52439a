"""The search for the knee, with servers simulated by their capacity."""

from __future__ import annotations

import asyncio

import pytest

from server.loadtest.knee import Outcome, Rates, Search


class Server:
    """Meets the objective up to `capacity`, except in the attempts numbered in `hiccups`."""

    def __init__(self, capacity, hiccups=(), doubtful=True):
        self.capacity = capacity
        self.hiccups = hiccups
        self.doubtful = doubtful
        self.tried = []

    async def __call__(self, rate):
        self.tried.append(rate)
        hiccup = len(self.tried) - 1 in self.hiccups
        met = rate <= self.capacity and not hiccup
        return Outcome(met, doubtful=hiccup and self.doubtful)


def found(server, **rates):
    search = Search(Rates(**rates))
    asyncio.run(search.run(server))
    return search


@pytest.mark.parametrize("capacity", [1.7, 99, 100, 101, 777, 3_210, 63_000])
def test_the_knee_is_between_two_close_rates(capacity):
    search = found(Server(capacity))

    assert search.good <= capacity < search.bad
    assert search.bad / search.good <= 1.1


def test_the_search_takes_few_steps():
    """The rate is doubled first, then the interval is bisected."""
    server = Server(10_000)
    found(server)

    assert len(server.tried) < 15
    assert server.tried[:3] == [100, 200, 400]


def test_a_server_that_meets_every_rate_has_no_rate_above_its_knee():
    server = Server(1e9)
    search = found(server, most=1_000)

    assert (search.good, search.bad) == (1_000, None)
    assert server.tried == [100, 200, 400, 800, 1_000]


def test_a_server_that_meets_no_rate_has_no_knee():
    """The search ends at the lowest rate."""
    server = Server(0)
    search = found(server, least=10)

    assert (search.good, search.bad) == (None, 10)
    assert min(server.tried) == 10


def test_a_doubtful_miss_is_tried_again():
    server = Server(1_000, hiccups=[1])
    search = found(server)

    assert server.tried[:3] == [100, 200, 200]
    assert 900 < search.good <= 1_000


def test_a_miss_is_not_the_knee_if_higher_rates_meet_the_objective():
    """A stall of the machine at a low rate does not end the search."""
    server = Server(1_000, hiccups=[1], doubtful=False)
    search = found(server)

    assert server.tried[:3] == [100, 200, 400]
    assert 900 < search.good <= 1_000 < search.bad


def test_an_interrupted_search_keeps_its_results():
    server = Server(1_000)

    async def until_400(rate):
        if rate > 400:
            raise KeyError
        return await server(rate)

    search = Search(Rates())
    with pytest.raises(KeyError):
        asyncio.run(search.run(until_400))

    assert (search.good, search.bad) == (400, None)
