"""A real server on a Unix socket: how it ends, and what is left."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import WITHIN, Client, wait_until

pytestmark = pytest.mark.process
TRANSPORTS = pytest.mark.parametrize("transport", ["llhttp", "tornado"])


class UnixClient(Client):
    """A connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WITHIN)
        self.socket.connect(str(path))
        self._sent = 0.0


@TRANSPORTS
def test_a_shutdown_answers_what_was_accepted_and_removes_the_socket(
    start: Start, transport: str
) -> None:
    server = start("--http.host", "127.0.0.1,unix:s", "--http.transport", transport)
    path = server.folder / "s"
    assert f", unix:{path.name}, loading" in server.stderr
    server.gate.hold()
    waiting = UnixClient(path).send([10])
    wait_until(lambda: server.calls, what="the blocked call")
    server.signal()
    late = UnixClient(path).send([20])  # still accepted: http.drain_grace_ms
    wait_until(lambda: not path.exists(), what="the removal of the socket")
    server.gate.release()

    assert [waiting.answer().prediction, late.answer().prediction] == [31, 61]
    assert server.exit_code() == 0


def test_a_server_that_cannot_start_leaves_no_socket(start: Start) -> None:
    server = start("--http.host", "unix:s", environ={"FAKE_LOAD_ERROR": "no"}, ready=False)

    assert server.exit_code() == 2
    assert not (server.folder / "s").exists()


def test_a_killed_server_does_not_keep_the_next_from_starting(start: Start, tmp_path: Path) -> None:
    host = f"127.0.0.1,unix:{tmp_path}/s"
    first = start("--http.host", host)
    first.process.kill()
    first.process.wait()
    start("--http.host", host)

    assert UnixClient(tmp_path / "s").send([10]).answer().prediction == 31
