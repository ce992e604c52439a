"""A real server as systemd starts it: it tells when it is ready, alive and stopping."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import READY_WITHIN
from tests.support.systemd import listening_as_systemd

pytestmark = pytest.mark.process


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with listening_as_systemd(str(tmp_path / "notify"), READY_WITHIN) as listener:
        yield listener


def told_until(systemd: socket.socket, words: str) -> list[str]:
    """Return the messages up to the one with these words."""
    messages = [systemd.recv(4096).decode()]
    while words not in messages[-1]:
        messages.append(systemd.recv(4096).decode())
    return messages


def test_it_tells_that_it_is_ready_alive_and_stopping(start: Start, systemd: socket.socket) -> None:
    variables = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "20000"}
    server = start("--model.name", "line", environ=variables, ready=False)
    server.load_gate.hold()
    loading = told_until(systemd, "STATUS=loading")
    alive_while_loading = told_until(systemd, "WATCHDOG=1")
    server.load_gate.release()
    *_, ready = told_until(systemd, "READY=1")
    told_until(systemd, "WATCHDOG=1")
    answer = server.post([10])
    model_environment = Path(f"/proc/{server.model_pid}/environ").read_bytes()
    server.signal()
    *_, stopping = told_until(systemd, "STOPPING=1")

    assert not any("READY" in message for message in loading + alive_while_loading)
    assert ready == "READY=1\nSTATUS=serving line version 1"
    assert answer.prediction == 31
    assert b"NOTIFY_SOCKET" not in model_environment
    assert b"WATCHDOG" not in model_environment
    assert stopping == "STOPPING=1\nSTATUS=shutting down"
    assert server.exit_code() == 0


def test_a_server_that_cannot_start_never_says_that_it_is_ready(
    start: Start, systemd: socket.socket
) -> None:
    variables = {"NOTIFY_SOCKET": systemd.getsockname(), "FAKE_LOAD_ERROR": "no"}
    server = start(environ=variables, ready=False)

    assert server.exit_code() == 2
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        told_until(systemd, "READY=1")
