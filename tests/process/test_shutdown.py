"""Shutdown: no request is lost, and the process does not hang."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import Start, StartLoad
from tests.process.harness import REAL, Client, Server, wait_until

pytestmark = pytest.mark.process

SIGNALS = [signal.SIGTERM, signal.SIGINT]
TRANSPORTS = ["llhttp", "tornado"]
AT_ONCE = 5.0  # seconds; other processes may slow the machine down


def end_under_load(
    server: Server, start_load: StartLoad, number: int = signal.SIGTERM
) -> dict[str, Any]:
    """Signal the server during a load test with 64 connections; return the test's figures."""
    load = start_load(server, "--connections", "64", "--duration", "60", "--expect", "200,503")
    wait_until(lambda: server.stdout.count("\n") > 300, what="answers")
    server.signal(number)
    assert server.exit_code() == 0
    assert load.is_running(), "the load test ended before the server"
    load.signal(signal.SIGINT)  # send nothing more
    figures = load.figures()
    shown = ("answered", "statuses", "lost_by_reason", "connections_opened", "connections_refused")
    print({name: figures[name] for name in shown})
    assert "Traceback" not in server.stderr
    return figures


def assert_nothing_is_lost(figures: dict[str, Any]) -> None:
    assert figures["lost"] == 0, figures["lost_by_reason"]
    assert figures["statuses"].keys() <= {"200", "503"}
    assert figures["statuses"]["200"] > 300


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.torture)]
)
def test_a_signal_under_load_loses_no_request(
    start: Start, start_load: StartLoad, number: signal.Signals, transport: str
) -> None:
    server = start("--http.transport", transport)
    assert_nothing_is_lost(end_under_load(server, start_load, number))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "times",
    [
        pytest.param(10, marks=[pytest.mark.torture, pytest.mark.timeout(300)]),
        pytest.param(50, marks=[pytest.mark.torture_full, pytest.mark.timeout(1500)]),
    ],
)
def test_repeated_shutdowns_under_load_lose_no_request(
    start: Start, start_load: StartLoad, times: int, transport: str
) -> None:
    answered = 0
    for _ in range(times):
        figures = end_under_load(start("--http.transport", transport), start_load)
        assert_nothing_is_lost(figures)
        answered += figures["answered"]
    print(f"{times} times on {transport}: {answered:,} answers, none lost")


@pytest.mark.torture
@pytest.mark.torture_full
@pytest.mark.keras
@pytest.mark.timeout(900)
def test_ten_shutdowns_with_a_real_model_lose_no_request(
    start: Start, start_load: StartLoad, example_model: Path
) -> None:
    runs = [end_under_load(start(str(example_model), command=REAL), start_load) for _ in range(10)]
    for figures in runs:
        assert_nothing_is_lost(figures)


@pytest.mark.torture
def test_requests_that_arrive_at_the_end_of_the_grace_period_are_answered(start: Start) -> None:
    """The operating system has accepted their connections; a 503 is fine, a reset is not.

    The process is stopped (SIGSTOP) while many deadlines and the grace period pass. When it
    continues, the event loop has to handle them all at once, while connections arrive.
    """
    server = start("--http.drain_grace_ms", "800")
    server.gate.hold()
    waiting = [server.send([n], {"X-Request-Timeout-Ms": "700"}) for n in range(400)]
    server.settle()
    server.signal()
    over = time.monotonic() + 1
    server.until_logged("draining")
    server.signal(signal.SIGSTOP)
    wait_until(lambda: time.monotonic() > over)
    server.signal(signal.SIGCONT)
    late = send_until_refused(server, at_most=400)
    server.gate.release()

    assert {outcome(client) for client in waiting} <= {200, 504}
    outcomes = Counter(outcome(client) for client in late)
    assert outcomes.keys() <= {200, 503}, outcomes
    assert server.exit_code() == 0


def send_until_refused(server: Server, at_most: int) -> list[Client]:
    """Open connections with a request each until the server refuses one; return the clients."""
    clients: list[Client] = []
    with contextlib.suppress(ConnectionError):
        while len(clients) < at_most:
            clients.append(server.send([1]))
    return clients


def outcome(client: Client) -> int | str:
    """Return the status of an answer, or the name of the error."""
    try:
        return client.answer().status
    except (ConnectionError, http.client.HTTPException) as error:
        return type(error).__name__


def test_accepted_requests_are_answered_after_the_grace_period(start: Start) -> None:
    """Even if the model is blocked until the server has stopped listening."""
    server = start("--http.drain_grace_ms", "50")
    first = server.occupy()
    waiting = [server.send([n]) for n in range(1, 100)]
    server.settle()
    server.signal()
    wait_until(lambda: not server.is_listening(), what="the end of listening")
    server.gate.release()

    assert first.answer().prediction == 1
    assert [each.answer().prediction for each in waiting] == [3 * n + 1 for n in range(1, 100)]
    assert server.exit_code() == 0
    assert len(server.stdout.splitlines()) == 100, "what was answered is on record"


def test_during_the_grace_period_predictions_are_answered_and_connections_close(
    start: Start,
) -> None:
    server = start("--http.drain_grace_ms", "2000")
    kept = server.connect()
    before = kept.send([1]).answer(keep=True)
    assert before.headers["Connection"] != "close"
    server.signal()
    wait_until(lambda: server.get("/v2/health/ready").status == 503)

    live, ready = server.get("/v2/health/live"), server.get("/v2/health/ready")
    assert (live.status, ready.status) == (200, 503)
    assert int(ready.headers["Retry-After"]) >= 1
    fresh, last = server.post([2]), kept.send([3]).answer(keep=True)
    assert (fresh.prediction, last.prediction) == (7, 10)
    assert fresh.headers["Connection"] == last.headers["Connection"] == "close"
    assert kept.is_closed()
    kept.close()
    assert server.exit_code() == 0


def test_idle_connections_do_not_delay_shutdown(start: Start) -> None:
    server = start("--http.drain_grace_ms", "50")
    silent, kept = server.connect(), server.connect()
    kept.send([1]).answer(keep=True)
    server.signal()

    assert server.exit_code(within=5) == 0
    for client in (silent, kept):
        assert client.is_closed()
        client.close()


def test_an_incomplete_request_delays_shutdown_only_until_its_timeout(start: Start) -> None:
    server = start("--http.drain_grace_ms", "50", "--http.drain_timeout_s", "1")
    slow = server.connect()
    slow.socket.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
    server.settle()
    server.signal()

    assert server.exit_code(within=5) in (0, 3)
    slow.close()


def test_a_hung_model_call_exits_with_3_after_the_drain_timeout(start: Start) -> None:
    server = start("--http.drain_grace_ms", "50", "--http.drain_timeout_s", "0.5")
    stuck = server.occupy()
    began = time.monotonic()
    server.signal()

    assert server.exit_code(within=10) == 3
    assert 0.5 <= time.monotonic() - began < 0.55 + AT_ONCE
    assert "not drained after 0.5 s" in server.stderr
    assert "Traceback" not in server.stderr
    stuck.close()


@pytest.mark.torture
def test_a_model_call_that_returns_in_time_exits_with_0(start: Start) -> None:
    server = start("--http.drain_grace_ms", "50", "--http.drain_timeout_s", "20")
    stuck = server.occupy()
    server.signal()
    wait_until(lambda: not server.is_listening())
    server.gate.release()

    assert stuck.answer().prediction == 1
    assert server.exit_code() == 0


@pytest.mark.torture
def test_a_hung_call_of_expired_requests_delays_shutdown_only_until_the_drain_timeout(
    start: Start,
) -> None:
    """The model hangs in a call whose requests have all expired."""
    server = start("--http.drain_grace_ms", "50", "--http.drain_timeout_s", "0.5")
    server.gate.hold()
    assert server.post([1], {"X-Request-Timeout-Ms": "100"}).status == 504
    server.signal()

    assert server.exit_code(within=5) in (0, 3)


@pytest.mark.parametrize("first, second", [SIGNALS, SIGNALS[::-1]])
def test_a_second_signal_exits_at_once(
    start: Start, first: signal.Signals, second: signal.Signals
) -> None:
    server = start()
    stuck = server.occupy()
    server.signal(first)
    server.until_logged("draining")
    began = time.monotonic()
    server.signal(second)

    assert server.exit_code() == 128 + second
    assert time.monotonic() - began < AT_ONCE
    stuck.close()


def test_all_payload_lines_are_written_before_exit(start: Start) -> None:
    """To standard output and to a file."""
    server = start("--http.drain_grace_ms", "0", "--logging.file", "payloads.jsonl")
    answers = [server.post([n]) for n in range(20)]
    server.signal()

    assert server.exit_code() == 0
    lines = (server.folder / "payloads.jsonl").read_text().splitlines()
    assert [json.loads(line)["prediction"] for line in lines] == [a.prediction for a in answers]
    assert server.stdout == ""
