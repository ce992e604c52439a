"""`load_test.py --sweep`: the files it writes, and its exit codes."""

from __future__ import annotations

import orjson
import pytest

from server.loadtest.command import main
from server.loadtest.sweep_result import write_result
from tests.loadtest.fakes import result_of
from tests.loadtest.html_page import Page
from tests.loadtest.scripted_server import http

# An objective that is met on a busy machine too, and short steps.
SHORT = ["--sweep", "--p99-ms", "5000", "--step-seconds", "0.3"]


@pytest.fixture
def sweep(server, tmp_path, monkeypatch):
    """Run a sweep on the server; return its exit code, its figures and its report."""

    def run(*flags):
        monkeypatch.chdir(tmp_path)
        code = main([*SHORT, "--url", server.url, *flags])
        page = tmp_path / "load-test.html"
        return code, orjson.loads(page.with_suffix(".json").read_bytes()), Page(page.read_text())

    return run


def test_a_sweep_writes_a_report_and_the_same_figures_as_json(server, sweep, capsys):
    """Both have the machine, the settings and the command."""
    code, numbers, page = sweep("--start-rate", "40", "--max-rate", "80", "--name", "a & b")
    said = capsys.readouterr()

    assert code == 0
    assert [step["rate"] for step in numbers["steps"]] == [40, 80]
    assert sum(step["due"] for step in numbers["steps"]) <= server.requests
    assert numbers["knee"]["rate"] == 80
    assert numbers["machine"]["memory"].endswith("GiB")
    assert numbers["settings"]["rates"] == "from 40/s, at most 80/s"
    assert numbers["steps"][0]["batches"]["mean_rows"] == 2
    assert "--sweep --p99-ms 5000" in numbers["command"]
    assert "Load test of a & b" in page.text
    assert "Sustains 80 requests per second" in page.text
    assert "Sustains 80 requests per second" in said.out
    assert said.err.count("/s") >= 4  # a line for each step


def test_a_server_that_rejects_everything_has_no_knee(server, sweep):
    """The command fails, but still writes a report."""

    async def refuse(number, data):
        return http(b"too busy", "503 Service Unavailable")

    server.answer = refuse
    code, numbers, page = sweep("--start-rate", "8")

    assert code == 1
    assert numbers["knee"]["rate"] is None
    assert "No rate met the objective, not even 1/s" in page.text


def test_an_unexpected_status_fails_a_sweep_and_is_printed(server, sweep, capsys):
    async def teapot_now_and_then(number, data):
        if number % 200 == 100:
            return http(b"short and stout", "418 I am a teapot")
        return http(b'{"prediction":1}')

    server.answer = teapot_now_and_then
    code, _, _ = sweep("--start-rate", "400", "--max-rate", "400", "--step-seconds", "1")

    assert code == 1
    assert "unexpected: 418" in capsys.readouterr().err


def test_an_earlier_sweep_is_shown_in_the_same_report(sweep, tmp_path):
    write_result(result_of(1_000, "yesterday"), tmp_path / "old.json")

    flags = ["--compare", "old.json", "--start-rate", "20", "--max-rate", "20", "--name", "today"]
    _, _, page = sweep(*flags)

    assert "Load tests compared: today, yesterday" in page.text


def test_a_report_is_written_again_without_any_load(server, tmp_path):
    write_result(result_of(1_000, "yesterday"), tmp_path / "old.json")
    page = tmp_path / "again.html"

    code = main(["--redraw", str(tmp_path / "old.json"), "--report", str(page)])

    assert code == 0
    assert server.requests == 0
    assert "Load test of yesterday" in Page(page.read_text()).text


@pytest.mark.parametrize(
    "flags, line",
    [
        (["--rate", "5"], "--rate cannot be combined with a sweep"),
        (["--model", "a.keras"], "--model cannot be combined with a sweep"),
        (["--start-rate", "9", "--max-rate", "3"], "--start-rate is above --max-rate"),
        (["--compare", "none.json"], "none.json: cannot be read: No such file"),
        (["--report", "none/page.html"], "none/page.html: cannot be written: No such file"),
        (["--p99-ms", "0"], "not a number above 0"),
    ],
)
def test_a_wrong_option_is_one_clear_line(server, tmp_path, monkeypatch, flags, line, capsys):
    """Before any request is sent."""
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["--sweep", "--url", server.url, *flags])
    except SystemExit as end:
        code = end.code

    assert code == 2
    assert line in capsys.readouterr().err
    assert server.requests == 0
