"""Decoder processes that are killed, and their end with the service."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from server.dialects.interface import SLOW_JSON
from tests.process.conftest import Start
from tests.process.harness import Client, Server, is_alive, wait_until
from tests.process.reading_clients import request

pytestmark = pytest.mark.process

ROWS = 60_000
ONE_ROW = b'{"data":[7]}'.ljust(SLOW_JSON)


def send(server: Server, body: bytes = ONE_ROW) -> Client:
    """Send a large body; do not wait for the answer."""
    client = server.connect()
    client.send_bytes(request("application/json", body))
    return client


def decoder_pids(server: Server) -> list[int]:
    """Return the decoder processes."""
    return [pid for pid in server.model_pids if is_decoder(pid)]


def is_decoder(pid: int) -> bool:
    return b"server.serving.decoders" in Path(f"/proc/{pid}/cmdline").read_bytes()


def decoder_of(server: Server) -> int:
    """Return the only decoder process, which the first large body has started."""
    assert decoder_pids(server) == []
    assert send(server).answer().prediction == 22
    [pid] = decoder_pids(server)
    return pid


def stop(pid: int) -> None:
    """Let a process stand still, as if its job took long."""
    os.kill(pid, signal.SIGSTOP)


@pytest.mark.parametrize("transport", ["llhttp", "tornado"])
def test_a_request_whose_decoder_process_is_killed_is_answered(
    start: Start, transport: str
) -> None:
    server = start("--http.transport", transport)
    pid = decoder_of(server)
    stop(pid)
    clients = [send(server) for _ in range(3)]
    wait_until(lambda: server.metric("predict_queue_bytes") == 3 * SLOW_JSON)
    os.kill(pid, signal.SIGKILL)

    assert [client.answer().prediction for client in clients] == [22, 22, 22]
    assert not is_alive(pid)
    assert len(decoder_pids(server)) == 1
    server.until_logged("the decoder process was killed")
    assert "Traceback" not in server.stderr


def test_small_requests_are_answered_while_a_large_body_is_decoded(start: Start) -> None:
    server = start()
    pid = decoder_of(server)
    stop(pid)
    large = send(server)
    wait_until(lambda: server.metric("predict_queue_bytes") == SLOW_JSON)

    assert server.post([1]).prediction == 4
    os.kill(pid, signal.SIGCONT)
    assert large.answer().prediction == 22


def test_a_shutdown_answers_what_is_being_decoded(start: Start) -> None:
    server = start("--http.drain_grace_ms", "0")
    pid = decoder_of(server)
    stop(pid)
    client = send(server)
    wait_until(lambda: server.metric("predict_queue_bytes") == SLOW_JSON)
    server.signal(signal.SIGTERM)
    server.until_logged("draining")
    os.kill(pid, signal.SIGCONT)

    assert client.answer().prediction == 22
    assert server.exit_code() == 0
    assert not is_alive(pid)


@pytest.mark.parametrize("is_stopped", [False, True], ids=["idle", "busy"])
def test_no_decoder_process_outlives_a_killed_service(start: Start, is_stopped: bool) -> None:
    server = start()
    pid = decoder_of(server)
    if is_stopped:
        stop(pid)
        send(server)
    server.signal(signal.SIGKILL)

    wait_until(lambda: not is_alive(pid))


def test_a_large_batch_is_decoded_and_its_answer_encoded(start: Start) -> None:
    server = start()
    body = json.dumps({"data": [[float(n)] for n in range(ROWS)]}).encode()

    assert send(server, body).answer().prediction == [3.0 * n + 1 for n in range(ROWS)]
    assert len(decoder_pids(server)) == 1
