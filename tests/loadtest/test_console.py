"""The figures of a load test, and the tables that it prints."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from server.loadtest.console import print_report
from server.loadtest.tally import Tally, batch_rows, figures


def tally_of(*answers, rows=1, seconds=2.0):
    """Return a tally of answers, each given as status, latency and rows of its batch."""
    tally = Tally(rows=rows, sent=len(answers), seconds=seconds)
    for status, latency, batch in answers:
        timing = b'queue;dur=1.5, batch;desc="%d rows", total;dur=2' % batch if batch else b""
        tally.answered(status, latency, timing, b'{"answer": 1}')
    return tally


@pytest.mark.parametrize(
    "header, rows",
    [
        (b'queue;dur=0.1, model;dur=2, batch;desc="17 rows", total;dur=3', 17),
        (b'batch;desc="1 rows"', 1),
        (b'batch;desc="many rows"', 0),
        (b"queue;dur=0.1", 0),
        (b"", 0),
    ],
)
def test_the_batch_size_is_read_from_server_timing(header, rows):
    """A header without a valid size counts as none."""
    assert batch_rows(header) == rows


def test_the_rate_counts_all_answers_and_goodput_only_200():
    """Three answers in two seconds, two of them with 200, of five rows each."""
    numbers = figures(tally_of((200, 1, 0), (200, 1, 0), (503, 1, 0), rows=5), {200, 503})

    assert numbers["achieved_rate"] == 1.5
    assert numbers["goodput"] == 1
    assert numbers["rows_per_second"] == 5
    assert numbers["statuses"] == {"200": 2, "503": 1}


def test_latencies_are_percentiles_in_milliseconds_by_status():
    """Fast rejections do not lower the latency of good answers."""
    slow = [(200, second, 0) for second in range(101)]
    numbers = figures(tally_of((503, 0.001, 0), *slow), {200, 503})

    assert numbers["latency_ms"]["503"]["max"] == 1
    assert numbers["latency_ms"]["200"] == pytest.approx(
        {"p50": 50_000, "p90": 90_000, "p99": 99_000, "p99.9": 99_900, "max": 100_000}
    )


def test_batches_are_counted_once_not_once_per_request():
    """A batch of nine and one of one have five rows on average, though nine requests report 9."""
    numbers = figures(tally_of((200, 1, 1), *[(200, 1, 9)] * 9), {200})

    assert numbers["batches"] == {"count": 2, "mean_rows": 5, "by_rows": {"1": 1, "9": 1}}


def test_a_request_of_many_rows_counts_as_a_larger_part_of_its_batch():
    """Two requests of eight rows fill a batch of sixteen."""
    numbers = figures(tally_of(*[(200, 1, 16)] * 2, rows=8), {200})

    assert numbers["batches"] == {"count": 1, "mean_rows": 16, "by_rows": {"16": 1}}


def test_a_server_without_batch_sizes_has_no_mean():
    assert figures(tally_of((200, 1, 0)), {200})["batches"]["mean_rows"] is None


def test_a_load_test_with_only_expected_statuses_succeeds():
    numbers = figures(tally_of((200, 1, 0), (503, 1, 0)), {200, 503})

    assert numbers["ok"]
    assert numbers["unexpected"] == {}


def lost(tally):
    tally.lost["connection closed"] += 1


def wrong(tally):
    tally.wrong(0, b"{}")


def unsent(tally):
    tally.unsent += 1


def gone(tally):
    tally.gone = True


def unexpected(tally):
    tally.answered(418, 1, b"", b"I am a teapot")


@pytest.mark.parametrize(
    "harm, line",
    [
        (lost, "LOST 1: connection closed"),
        (wrong, "WRONG 1: answers that differ from the model's"),
        (unsent, "UNSENT 1: "),
        (gone, "GONE: "),
        (unexpected, "STATUS 418: 1 times, first body: I am a teapot"),
    ],
)
def test_every_kind_of_failure_fails_the_load_test_and_is_printed(harm, line):
    """Each has its own line below the tables."""
    tally = tally_of((200, 1, 3))
    harm(tally)
    numbers = figures(tally, {200})
    page = StringIO()
    print_report(Console(file=page), numbers, tally)

    assert not numbers["ok"]
    assert line in page.getvalue()


def test_a_load_test_without_any_answer_can_be_reported():
    tally = Tally(seconds=1, unsent=3)
    page = StringIO()
    print_report(Console(file=page), figures(tally, {200}), tally)

    assert "0 of 0 sent" in page.getvalue()


def test_the_tables_show_rates_latencies_and_batches():
    """They fit into 80 columns."""
    tally = tally_of(*[(200, 1.2345678, 6)] * 6000)
    page = StringIO()
    print_report(Console(file=page, width=80), figures(tally, {200}), tally)

    for text in ("3,000.0 /s", "1,234.57", "1,000 batches, 6.00 rows on average", "4-7"):
        assert text in page.getvalue()
