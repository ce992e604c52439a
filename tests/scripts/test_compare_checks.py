"""How `compare.py --models` checks answers, and pauses the servers that are not measured."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from scripts.comparison.contestants import Contestant
from scripts.comparison.networks.checks import check, check_row
from scripts.comparison.networks.contestants import NetworkContestant
from scripts.comparison.networks.prepare import Prepared
from scripts.comparison.process import marked, running
from scripts.comparison.venvs import Missing
from tests.process.harness import wait_until

ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)
NETWORK = Prepared(Path("double.keras"), "x", ROWS, 2 * ROWS)
SERVER = NetworkContestant("fastapi", "FastAPI", "", ())


class Doubles(BaseHTTPRequestHandler):
    """Answers each number of the body, times `factor`."""

    factor = 2.0
    status = 200

    def do_POST(self) -> None:
        numbers = np.frombuffer(self.rfile.read(int(self.headers["Content-Length"])), np.float32)
        body = (numbers * np.float32(self.factor)).tobytes()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write nothing to stderr."""


@pytest.fixture
def handler() -> type[Doubles]:
    return type("Handler", (Doubles,), {})


@pytest.fixture
def port(handler: type[Doubles]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_right_answers_pass(port):
    check(SERVER, port, NETWORK)


def test_an_answer_that_is_off_is_told(handler, port):
    handler.factor = 2.001
    with pytest.raises(Missing, match=r"row 1 is off by 0\.00"):
        check_row(SERVER, port, NETWORK, 1)


def test_a_server_that_is_not_ready_is_asked_again(handler, port):
    handler.status = 503
    with pytest.raises(ConnectionError):
        check(SERVER, port, NETWORK)


def test_a_server_that_fails_is_missing(handler, port):
    handler.status = 500
    with pytest.raises(Missing, match="answered 500"):
        check(SERVER, port, NETWORK)


def test_a_paused_server_is_stopped_and_continues(tmp_path):
    sleeper = Contestant("it", "it", "", ("{python}", "-c", "import time; time.sleep(60)"))
    with running(sleeper, "python3", tmp_path / "m.keras", lambda *_: None) as server:
        [pid] = marked(server.mark)
        server.pause()
        wait_until(lambda: state_of(pid) == "T")
        server.resume()
        wait_until(lambda: state_of(pid) != "T")
    assert not Path(f"/proc/{pid}").exists()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
