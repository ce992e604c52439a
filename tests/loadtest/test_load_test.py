"""The load test against a scripted server."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.loadtest import load_generator
from server.loadtest.client import Target
from server.loadtest.command import main
from server.loadtest.load_generator import LoadGenerator
from server.loadtest.schedule import ClosedLoop
from server.loadtest.tally import Tally
from tests.loadtest.scripted_server import http, triple

SCRIPT = Path(__file__).parents[2] / "scripts" / "load_test.py"


@pytest.fixture
def load(server, tmp_path):
    """Run the load test on the server; return its exit code and its results."""

    def run(*flags, load_model=None):
        file = tmp_path / "numbers.json"
        code = main(["--url", server.url, "--json", str(file), *flags], load_model)
        return code, orjson.loads(file.read_bytes())

    return run


class FakeModel:
    """3x + 1, like the server."""

    signature = Signature((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (1,), "float32"),))

    def predict(self, parts):
        return [Tensors({"y": 3 * part.arrays["x"].astype(np.float64) + 1}) for part in parts]


def fake_model(path):
    """Stand in for loading a model file."""
    assert path == Path("a.keras")
    return FakeModel()


def in_place_of_number(wanted, odd):
    """Return an `answer` function: `odd` for one request and the right answer for the others."""

    async def answer(number, data):
        return odd if number == wanted else triple(data)

    return answer


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


@pytest.mark.parametrize("odd", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalfCLOSE"])
def test_a_request_whose_connection_closes_is_lost(server, load, odd, capsys):
    """The connection closes before or within the answer; the other requests continue."""
    server.answer = in_place_of_number(50, odd)
    code, numbers = load("--requests", "100", "--connections", "4")

    assert code == 1
    assert numbers["lost_by_reason"] == {"connection closed": 1}
    assert numbers["answered"] == 99
    assert "LOST 1: connection closed" in capsys.readouterr().out


def test_an_answer_that_is_not_http_is_lost(server, load):
    server.answer = in_place_of_number(5, b"SSH-2.0-OpenSSH\r\n")
    code, numbers = load("--requests", "10")

    assert code == 1
    assert numbers["lost_by_reason"] == {"answer is not HTTP": 1}


def test_a_request_without_an_answer_in_time_is_lost(server, load):

    async def never_the_third(number, data):
        await asyncio.sleep(60 if number == 3 else 0)
        return triple(data)

    server.answer = never_the_third
    code, numbers = load("--requests", "10", "--connections", "2", "--timeout", "0.3")

    assert code == 1
    assert numbers["lost_by_reason"] == {"no answer in time": 1}
    assert numbers["answered"] == 9


def test_requests_queued_longer_than_the_timeout_are_dropped(server, load):
    """They count as lost or unsent, and the load test ends."""

    async def never(number, data):
        await asyncio.sleep(60)

    server.answer = never
    flags = ["--rate", "100", "--arrivals", "constant", "--requests", "10"]
    code, numbers = load(*flags, "--connections", "2", "--timeout", "0.3")

    assert code == 1
    assert numbers["lost"] + numbers["unsent"] == 10
    assert numbers["unsent"] > 0


def test_an_unexpected_status_fails_the_load_test(server, load, capsys):
    """Its first body is printed."""
    server.answer = in_place_of_number(5, http(b"too busy", "503 Service Unavailable"))
    code, numbers = load("--requests", "10")

    assert code == 1
    assert numbers["unexpected"] == {"503": 1}
    assert "STATUS 503: 1 times, first body: too busy" in capsys.readouterr().out


def test_a_status_can_be_expected(server, load):
    """A test of an overload expects rejections."""
    server.answer = in_place_of_number(5, http(b"too busy", "503 Service Unavailable"))
    code, numbers = load("--requests", "10", "--expect", "200,503")

    assert code == 0
    assert numbers["statuses"] == {"200": 9, "503": 1}


def test_right_answers_pass_the_comparison_with_the_model(server, load):
    """A thousand different rows."""
    code, numbers = load("--requests", "1000", "--model", "a.keras", load_model=fake_model)

    assert code == 0
    assert numbers["wrong"] == 0


def test_a_wrong_answer_fails_the_load_test(server, load, capsys):
    """The expected and the received answer are printed."""
    server.answer = in_place_of_number(500, triple([123]))
    code, numbers = load("--requests", "1000", "--model", "a.keras", load_model=fake_model)

    assert code == 1
    assert numbers["wrong"] == 1
    assert 'got {"prediction":370}' in capsys.readouterr().out


def test_connection_close_loses_no_request(server, load):
    """The next request is sent over a new connection."""

    async def last_words(number, data):
        return triple(data).replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + b"CLOSE"

    server.answer = last_words
    code, numbers = load("--requests", "50", "--connections", "4")

    assert code == 0
    assert numbers["connections_opened"] == 50


def test_a_closed_idle_connection_loses_no_request(server, load):
    """With 125 ms between requests, the client notices the closed connection before the next."""

    async def gone_without_a_word(number, data):
        return triple(data) + b"CLOSE"

    server.answer = gone_without_a_word
    code, numbers = load("--rate", "8", "--arrivals", "constant", "--requests", "4")

    assert code == 0
    assert numbers["answered"] == numbers["connections_opened"] == 4


def test_a_server_that_stops_ends_the_load_test(server, load, monkeypatch, capsys):
    """Its answers are reported, and requests that could not be sent count as unsent, not lost."""

    async def leave(number, data):
        if number < 20:
            return triple(data)
        server.stop_listening()
        return triple(data) + b"CLOSE"

    server.answer = leave
    monkeypatch.setattr(load_generator, "GONE_AFTER", 0.5)
    # At this rate, the closed connection is noticed before the next request.
    flags = ["--rate", "50", "--arrivals", "constant", "--duration", "60", "--connections", "1"]
    code, numbers = load(*flags)

    assert code == 1
    assert numbers["gone"]
    assert numbers["answered"] == 21
    assert numbers["lost"] == 0
    assert numbers["unsent"] > 0
    assert "GONE: the server no longer accepts connections" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'7\r\n{"predi\r\n9\r\nction":4}\r\n0\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"prediction":4}CLOSE',
    ],
    ids=["chunked", "until the connection closes"],
)
def test_bodies_without_a_content_length_are_read(server, load, answer):

    async def same(number, data):
        return answer

    class Constant(FakeModel):
        def predict(self, parts):
            return [Tensors({"y": np.full((1, 1), 4.0)}) for _ in parts]

    server.answer = same
    code, _ = load("--requests", "20", "--model", "a.keras", load_model=lambda path: Constant())

    assert code == 0


def test_an_error_of_the_comparison_model_ends_the_load_test(server, load):
    """Its results would be useless."""

    class Broken(FakeModel):
        def predict(self, parts):
            raise RuntimeError("no answers from me")

    with pytest.raises(RuntimeError, match="no answers from me"):
        load("--requests", "20", "--model", "a.keras", load_model=lambda path: Broken())


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
