"""The report of a sweep: its content, its safety, its charts."""

from __future__ import annotations

import pytest

from server.loadtest.report.charts import Axis, BarChart, Line, LineChart, compact
from server.loadtest.report.sweep_report import report
from server.loadtest.sweep_result import NotASweep, read_result, write_result
from tests.loadtest.fakes import result_of
from tests.loadtest.html_page import Page

EVIL = "<script>alert('x')</script>&amp;\""


def test_the_report_shows_the_figures():
    result = result_of(1_000, refuses=True)
    page = Page(report([result]))
    rate, above = result["knee"]["rate"], result["knee"]["above"]

    assert f"Sustains {rate:,g} requests per second: 99 % of the requests answered" in page.text
    assert f"It missed this objective at {above:,g} per second: the server was" in page.text
    for step in result["steps"]:
        assert f"{step['goodput']:,.0f}" in page.text
        assert f"{step['statuses'].get('503', 0):,}" in page.text
    for words in ("Offered and achieved", "Latency", "Time in the queue", "Time in the model"):
        assert words in page.text
    for words in ("Rows per batch", "an abacus", "load --sweep", "at most 512", "Over time"):
        assert words in page.text


def test_a_chart_has_a_point_for_every_rate():
    result = result_of(1_000)
    page = report([result])
    _, _, latency = page.partition("<b>Latency</b>")
    chart = latency.partition("</figure>")[0]
    rates = {step["rate"] for step in result["steps"]}

    assert chart.count("p50: ") == chart.count("p99: ") == len(rates)
    for rate in rates:
        assert f"p99: {'5' if rate <= 1_010 else '3,000'} at {compact(rate)}" in chart


@pytest.mark.parametrize("runs", [1, 2])
def test_the_report_has_no_resources_and_no_scripts(runs):
    page = Page(report([result_of(1_000)] * runs))

    assert page.loads == []
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(page.tags)
    assert "default-src 'none'" in page.source


def test_external_text_is_escaped():
    """A name, a URL or a text from the server is never markup."""
    result = result_of(1_000, EVIL) | {"url": EVIL, "command": EVIL}
    result |= {"server": {EVIL: EVIL}, "machine": {EVIL: EVIL}, "settings": {EVIL: EVIL}}
    page = Page(report([result, result]))

    assert "script" not in page.tags
    assert page.text.count("alert('x')") >= 14
    assert "<script" not in page.source


def test_two_sweeps_are_compared():
    page = Page(report([result_of(2_000, "new"), result_of(1_000, "old")]))

    assert "Load tests compared: new, old" in page.text
    assert "new sustains 2.0" in page.text
    for words in ("new, p50", "old, p99", "Over time: new", "Step by step: old"):
        assert words in page.text


def test_a_server_without_a_knee_has_a_report():
    page = Page(report([result_of(0, refuses=True)]))

    assert "No rate met the objective, not even 1/s" in page.text


def test_a_server_without_timings_has_a_report():
    result = result_of(1_000)
    for step in result["steps"]:
        step |= {"queue_ms": {}, "model_ms": {}, "server": {}}
        step["batches"] = {"count": 0, "mean_rows": None, "by_rows": {}}

    assert "Step by step" in Page(report([result])).text


def test_a_result_is_read_as_it_was_written(tmp_path):
    result = result_of(1_000)
    write_result(result, tmp_path / "run.json")

    assert report([read_result(tmp_path / "run.json")]) == report([result])


@pytest.mark.parametrize(
    "text, words",
    [
        (None, "cannot be read: No such file"),
        ("{", "not JSON"),
        ("[]", "not the result of a sweep"),
        ('{"ok": true}', "not the result of a sweep"),
        ('{"kind": "sweep", "format": 1}', "another version"),
    ],
)
def test_a_file_without_a_sweep_is_rejected_in_one_line(tmp_path, text, words):
    file = tmp_path / "run.json"
    if text is not None:
        file.write_text(text)

    with pytest.raises(NotASweep, match=words) as error:
        read_result(file)
    assert "\n" not in str(error.value)


# The charts.


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[], [0], [5], [1e-6, 1e9], [3, 3.0001], [99, 101]])
def test_an_axis_has_a_few_ticks_within_its_range(values, log):
    axis = Axis(values, 0, 100, log)

    assert 1 <= len(axis.ticks()) <= 7
    assert all(-0.01 <= axis.at(tick) <= 100.01 for tick in axis.ticks())
    assert all(-0.01 <= axis.at(value) <= 100.01 for value in values if axis.holds(value))


def test_a_gap_cuts_a_line():
    line = Line("a", [(1, 1), (2, None), (3, 0), (4, 2), (5, 3)], 0)

    chart = LineChart("t", "x", "y", [line], log_y=True).figure()

    assert chart.count("<polyline") == 2
    assert chart.count("<circle") == 3


def test_only_stacked_bars_are_on_top_of_each_other():
    series = [("a", 0, [1.0, 2.0]), ("b", 1, [3.0, 0.0])]

    assert BarChart("t", "x", "y", ["p", "q"], series).figure().count("<rect") == 3
    assert "q, a: 2" in BarChart("t", "x", "y", ["p", "q"], series, stacked=True).figure()


@pytest.mark.parametrize(
    "value, text",
    [(0, "0"), (0.25, "0.25"), (31.64, "31.6"), (1234.5, "1,234"), (12_540, "12.5k"), (3e6, "3M")],
)
def test_numbers_have_three_digits(value, text):
    assert compact(value) == text
