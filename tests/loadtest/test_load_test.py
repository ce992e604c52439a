"""The load test against a scripted server."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from server.loadtest.client import Target
from server.loadtest.command import main
from server.loadtest.load_generator import LoadGenerator
from server.loadtest.schedule import ClosedLoop
from server.loadtest.tally import Tally
from tests.loadtest.line_model import fake_model
from tests.loadtest.scripted_server import triple

SCRIPT = Path(__file__).parents[2] / "scripts" / "load_test.py"


def test_exactly_the_requested_number_is_sent(server, load):
    """It opens as many connections as allowed, and keeps them open."""
    code, numbers = load("--requests", "1000", "--connections", "8")

    assert code == 0
    assert numbers["sent"] == numbers["answered"] == server.requests == 1000
    assert numbers["statuses"] == {"200": 1000}
    assert numbers["connections_opened"] == 8
    assert server.connections == 8 + 1  # one fetched the document
    assert numbers["batches"]["mean_rows"] == 2


def test_requests_of_several_rows_are_sent_as_batches(server, load):
    """The results count rows as well as requests."""
    code, numbers = load(
        "--requests", "10", "--rows", "4", "--model", "a.keras", load_model=fake_model
    )

    assert code == 0
    assert numbers["rows_per_second"] == pytest.approx(4 * numbers["goodput"])


def test_a_duration_ends_a_closed_loop(server, load):
    """Requests in flight at the end are still answered."""
    code, numbers = load("--duration", "0.3", "--connections", "4")

    assert code == 0
    assert numbers["seconds"] >= 0.3
    assert numbers["answered"] == server.requests


def test_an_open_loop_sends_at_its_rate(server, load):
    """It does not send as fast as the server can answer."""
    code, numbers = load("--rate", "100", "--arrivals", "constant", "--duration", "0.5")

    assert code == 0
    assert numbers["answered"] == server.requests == 50
    assert numbers["seconds"] >= 0.49


def test_an_open_loop_counts_a_stall_from_the_intended_time(server, load):
    """While one answer takes half a second, fifty requests are due and have to wait."""

    async def stall_once(number, data):
        await asyncio.sleep(0.5 if number == 20 else 0)
        return triple(data)

    server.answer = stall_once
    code, numbers = load(
        "--rate", "100", "--arrivals", "constant", "--requests", "100", "--connections", "1"
    )

    assert code == 0
    assert numbers["latency_ms"]["200"]["p90"] > 200
    assert numbers["latency_ms"]["200"]["max"] >= 499


def test_a_closed_loop_sends_nothing_during_a_stall(server, load):
    """So only the request that stalled has a high latency."""

    async def stall_once(number, data):
        await asyncio.sleep(0.5 if number == 20 else 0)
        return triple(data)

    server.answer = stall_once
    _, numbers = load("--requests", "100", "--connections", "1")

    assert numbers["latency_ms"]["200"]["p90"] < 200
    assert numbers["latency_ms"]["200"]["max"] >= 499


def test_an_open_loop_opens_no_more_connections_than_it_needs(server, load):
    """With a fast server, it reuses a few connections."""
    code, numbers = load("--rate", "200", "--arrivals", "constant", "--requests", "100")

    assert code == 0
    assert numbers["connections_opened"] < 50


def test_an_error_in_a_callback_ends_the_load_test(server):
    """The error is raised at once."""

    def check(index, body):
        raise RuntimeError("no verdict from me")

    target = Target.parse(server.url, "/predict")
    messages = [target.message(b'{"data":[1]}')]
    load = LoadGenerator(target, messages, ClosedLoop(requests=100), Tally(), check=check)

    with pytest.raises(RuntimeError, match="no verdict from me"):
        asyncio.run(load.run())


def test_an_unreachable_server_is_one_clear_line(capsys):
    """The exit code is that of a test that could not start."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        assert main(["--url", url]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"load_test: {url}/openapi.json cannot be reached: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "flags, line",
    [
        (["--path", "/other"], "POST /other"),
        (["--url", "https://localhost"], "not an http:// URL"),
        (["--connections", "0"], "not a whole number above 0"),
        (["--rate", "-1"], "not a number above 0"),
        (["--expect", "all"], "not a list of statuses such as 200,503"),
    ],
)
def test_a_wrong_option_is_one_clear_line(server, flags, line, capsys):
    """The exit code is that of a test that could not start."""
    try:
        code = main(["--url", server.url, *flags])
    except SystemExit as end:
        code = end.code

    assert code == 2
    assert line in capsys.readouterr().err


def test_the_script_runs_in_any_folder(server, tmp_path):
    """It runs in its own process and finds its imports."""
    flags = ["--url", server.url, "--requests", "20"]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, SCRIPT, *flags], cwd=tmp_path, env=clean, capture_output=True, text=True
    )

    assert run.returncode == 0, run.stderr
    assert "20 of 20 sent" in run.stdout
    assert run.stderr == ""
