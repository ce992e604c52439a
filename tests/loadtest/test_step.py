"""Whether a step met its objective, what the limit was if not, and its figures."""

from __future__ import annotations

import pytest

from server.loadtest.step import Objective, Trace, durations, judge, lag_percentile, step_figures

HEADER = b'queue;dur=%.3f, model;dur=%.3f, batch;desc="4 rows", total;dur=9.000'
IN_TIME = Objective(0.05)


def trace_of(good=(), refused=0, *, delay=0.0, lost=0, unsent=0, lags=(), connections=1, lead=0.0):
    """Return a trace of answers with 200; `good` are their latencies, one is due every 10 ms."""
    trace = Trace(lead=lead, seconds=1.0 + lead, unsent=unsent, connections=connections)
    for number, latency in enumerate(good):
        header = HEADER % (number, 2 * number)
        trace.answered(200, latency, header, b"{}", since=number / 100, delay=delay)
    for number in range(refused):
        trace.answered(503, 0.001, b"", b"{}", since=number / 100)
    if lost:
        trace.lost["connection closed"] = lost
    now = lead
    for lag in lags:
        trace.looked(now, now + lag)
        now += lag
    trace.sent = len(good) + refused + lost
    return trace


def test_99_of_100_requests_in_time_meet_the_objective():
    verdict = judge(trace_of([0.01] * 99 + [3]), IN_TIME, 64)

    assert (verdict.met, verdict.share, verdict.limit) == (True, 0.99, "")


@pytest.mark.parametrize(
    "harm",
    [
        {"good": [0.01] * 98 + [3] * 2},
        {"good": [0.01] * 98, "refused": 2},
        {"good": [0.01] * 98, "lost": 2},
        {"good": [0.01] * 98, "unsent": 2},
    ],
    ids=lambda harm: ", ".join(harm),
)
def test_late_rejected_lost_and_unsent_requests_are_not_in_time(harm):
    """A fast rejection is not an answer in time."""
    verdict = judge(trace_of(**harm), IN_TIME, 64)

    assert (verdict.met, verdict.share, verdict.limit) == (False, 0.98, "server")
    assert verdict.doubtful


def test_a_large_miss_is_not_doubtful():
    assert not judge(trace_of([0.01] * 50 + [3] * 50), IN_TIME, 64).doubtful


def test_a_client_that_sends_late_is_the_limit():
    """The answers arrived soon after their requests were sent."""
    verdict = judge(trace_of([0.1] * 100, delay=0.09), IN_TIME, 64)

    assert (verdict.met, verdict.limit, verdict.doubtful) == (False, "client", True)


def test_a_client_without_a_free_connection_has_connections_as_limit():
    verdict = judge(trace_of([0.1] * 100, delay=0.09, connections=64), IN_TIME, 64)

    assert (verdict.met, verdict.limit) == (False, "connections")


def test_a_client_that_receives_late_is_the_limit():
    """The client was too busy to notice answers in time."""
    verdict = judge(trace_of([0.1] * 100, lags=[0.001] * 100 + [0.04] * 10), IN_TIME, 64)

    assert (verdict.met, verdict.limit) == (False, "client")


def test_delays_of_the_client_are_weighted_by_their_length():
    """A thousand delays of 0.1 ms take as long as one of 100 ms."""
    assert lag_percentile([0.0001] * 1000 + [0.1], 99) == 0.1
    assert lag_percentile([0.0001] * 1000, 99) == 0.0001
    assert lag_percentile([], 99) == 0


def test_an_early_timer_is_not_a_delay():
    """An event loop may run a timer early, by less than the resolution of its clock."""
    trace = trace_of(lags=[-0.0001] * 3)

    assert lag_percentile(trace.lags, 99) == 0


def test_a_step_without_requests_misses_the_objective():
    assert not judge(Trace(seconds=1.0), IN_TIME, 64).met


def test_the_lead_of_a_step_does_not_count():
    """Connections are opened in it; its requests are still settled."""
    trace = trace_of([9.0] * 10 + [0.01] * 90, lead=0.1, lags=[9.0])

    assert judge(trace, IN_TIME, 64).share == 1
    assert (trace.due, trace.settled, trace.measured_seconds) == (90, 100, 1.0)


def test_the_figures_of_a_step():
    trace = trace_of([0.01, 0.02, 0.03], refused=1)
    step = step_figures(trace, 100, 5.0, judge(trace, IN_TIME, 64))

    assert (step["rate"], step["began"], step["due"], step["goodput"]) == (100, 5.0, 4, 3.0)
    assert step["statuses"] == {"200": 3, "503": 1}
    assert step["latency_ms"]["p50"] == pytest.approx(20)
    assert (step["queue_ms"]["p50"], step["model_ms"]["max"]) == pytest.approx((1, 4))
    assert step["batches"]["mean_rows"] == 4
    assert sum(rate for rate in step["over_time"]["good"]) > 0


def test_a_step_without_an_answer_has_figures():
    trace = trace_of(refused=3)
    step = step_figures(trace, 100, 0.0, judge(trace, IN_TIME, 64))

    assert (step["latency_ms"], step["goodput"], step["met"]) == ({}, 0, False)
    assert step["over_time"]["p99"] == [None] * 10


def test_missing_server_timings_are_skipped():
    assert list(durations([HEADER % (1, 2), b"", b"queue;dur=much"], b"queue")) == [1]
