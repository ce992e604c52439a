"""Model processes that are killed, abort, hang or load, and a service that goes on beside them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.fake_model import Row
from tests.process.harness import FAKE, REAL, Server, is_alive, wait_until

pytestmark = pytest.mark.process

QUICK = ("--http.drain_grace_ms", "0")
LISTENS_WITHIN = 0.5  # seconds
BUSY = 3.0  # seconds that other tests may keep it waiting


class Clients:
    """Each asks without a pause over one connection that is never opened again.

    Attributes:
        answered: how often the answer was right.
        wrong: all other answers, and connections that ended.
    """

    def __init__(self, port: int, connections: int) -> None:
        self.answered = 0
        self.wrong: list[object] = []
        self._port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._ask, args=[number]) for number in range(connections)
        ]

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.auto_open = 0
        with closing(connection):
            connection.connect()
            for row in count(1000 * number):
                if self._over.is_set():
                    return
                try:
                    self._ask_one(connection, row)
                except Exception as error:
                    self.wrong.append(error)
                    return

    def _ask_one(self, connection: http.client.HTTPConnection, row: int) -> None:
        connection.request(
            "POST", "/predict", json.dumps({"data": [row]}), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        body = response.read()
        if response.status != 200 or json.loads(body)["prediction"] != 3 * row + 1:
            self.wrong.append((row, response.status, body))
        with self._lock:
            self.answered += 1

    def until_answered(self, more: int = 50) -> None:
        wanted = self.answered + more
        wait_until(lambda: self.answered >= wanted or self.wrong, what="answers")

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def restarts(server: Server) -> dict[str, int]:
    """Return how often model processes have ended, by reason."""
    text = server.get("/metrics").body.decode()
    found = re.findall(r'^predict_model_restarts_total{.*reason="(\w+)"} (\S+)$', text, re.M)
    return {reason: int(float(times)) for reason, times in found}


# A process that ends


@pytest.mark.parametrize(
    "kills, connections, pause",
    [
        (3, 8, 0.1),
        pytest.param(20, 64, 2.0, marks=[pytest.mark.torture, pytest.mark.timeout(300)]),
    ],
)
@pytest.mark.parametrize("transport", ["llhttp", "tornado"])
def test_a_killed_process_loses_no_answer_and_no_connection(
    start: Start, kills: int, connections: int, pause: float, transport: str
) -> None:
    server = start("--http.transport", transport)
    pid = server.process.pid
    with Clients(server.port, connections) as clients:
        for _ in range(kills):
            clients.until_answered()
            time.sleep(pause)
            model = server.kill_model()
            wait_until(lambda model=model: not is_alive(model))  # type: ignore[misc]
        clients.until_answered()
    print(f"{clients.answered} answers over {connections} connections, {kills} kills")

    assert clients.wrong == []
    assert (server.process.pid, server.is_running()) == (pid, True)
    assert restarts(server) == {"killed": kills}
    wait_until(lambda: server.stderr.count("serving again") == kills)
    assert "Traceback" not in server.stderr


def test_a_process_that_ends_while_nobody_asks_is_started_again(start: Start) -> None:
    server = start()
    first = server.kill_model()
    wait_until(lambda: server.model_pids and first not in server.model_pids, what="another")

    assert server.post([2]).prediction == 7
    assert restarts(server) == {"killed": 1}


def test_a_row_that_ends_the_process_fails_alone_among_63(start: Start) -> None:
    server = start()
    held = server.occupy()
    rows = [*range(1, 32), Row.ABORTS, *range(32, 64)]
    clients = [server.send([row]) for row in rows]
    server.settle()
    server.gate.release()
    assert held.answer().prediction == 1
    answers = [client.answer() for client in clients]

    assert sorted(server.calls[1]) == sorted(rows), "they were not one batch"
    for row, answer in zip(rows, answers, strict=True):
        if row == Row.ABORTS:
            assert (answer.status, answer.json["type"]) == (500, "/problems/model-failed")
        else:
            assert answer.prediction == 3 * row + 1
    assert restarts(server) == {"crash": 2}
    server.until_logged("ended by SIGABRT")
    assert server.post([2]).prediction == 7


def test_a_model_whose_process_always_ends_is_given_up_until_it_is_loaded_again(
    start: Start,
) -> None:
    server = start("--model.max_restarts", "3", "--auth.api_keys", "a-key-for-tests")
    key = {"X-API-Key": "a-key-for-tests"}
    statuses = [server.post([Row.ABORTS], key).status for _ in range(2)]
    assert statuses == [500, 503]
    given_up, ready = server.post([1], key), server.get("/v2/health/ready")
    reason = "ended by SIGABRT, 3 times without an answer in between"
    assert (given_up.status, given_up.json["type"]) == (503, "/problems/model-unavailable")
    assert reason in given_up.json["detail"]
    assert ready.status == 503
    assert reason in ready.json["error"]
    assert server.get("/v2/health/live").status == 200
    server.signal(signal.SIGHUP)
    server.until_ready()

    assert server.post([1], key).prediction == 4
    server.until_logged("was given up")
    assert server.stderr.count("was given up") == 1


@pytest.mark.torture
def test_a_model_that_keeps_state_is_not_called_again(start: Start) -> None:
    server = start("--model.keep_state", "true")
    held = server.occupy()
    server.kill_model()
    answer = held.answer()
    server.gate.release()

    assert (answer.status, answer.json["type"]) == (503, "/problems/model-unavailable")
    assert "the call was not made again" in answer.json["detail"]
    server.until_ready()
    assert server.post([2]).prediction == 7


def test_while_a_process_loads_again_requests_wait_until_their_deadline(start: Start) -> None:
    server = start()
    server.load_gate.hold()
    server.kill_model()
    wait_until(lambda: server.get("/v2/health/ready").status == 503, what="not ready")
    ready = server.get("/v2/health/ready").json
    patient = server.send([3])
    hurried = server.post([4], {"X-Request-Timeout-Ms": "200"})
    server.load_gate.release()

    assert "is being started again" in ready["error"]
    assert hurried.status == 504
    assert 0.2 <= hurried.seconds < 0.2 + BUSY
    assert patient.answer().prediction == 10
    server.until_ready()


@pytest.mark.torture
def test_a_sigterm_while_a_process_is_started_again_loses_nothing(start: Start) -> None:
    server = start(*QUICK)
    server.load_gate.hold()
    held = server.occupy()
    server.kill_model()
    server.settle()
    server.signal()
    wait_until(lambda: not server.is_listening(), what="the end of listening")
    server.gate.release()
    server.load_gate.release()

    assert held.answer().prediction == 1
    assert server.exit_code() == 0


@pytest.mark.torture
def test_a_sigterm_waits_for_no_process_that_nobody_needs(start: Start) -> None:
    server = start(*QUICK)
    server.load_gate.hold()
    server.kill_model()
    assert server.post([1], {"X-Request-Timeout-Ms": "100"}).status == 504
    server.signal()

    assert server.exit_code(within=5) == 0
    server.load_gate.release()


def test_a_load_that_takes_too_long_is_ended(start: Start) -> None:
    server = start("--model.load_timeout_s", "1", ready=False)
    server.load_gate.hold()
    assert server.port

    assert server.exit_code() == 2
    assert "not loaded within 1 s (model.load_timeout_s); last step: loading" in server.stderr
    assert "Traceback" not in server.stderr


# Replicas


def test_one_of_two_replicas_is_killed_and_the_other_goes_on(start: Start) -> None:
    server = start("--model.replicas", "2")
    first, second = server.model_pids
    with Clients(server.port, 4) as clients:
        clients.until_answered()
        server.load_gate.hold()
        os.kill(first, signal.SIGKILL)
        clients.until_answered(200)
        assert server.get("/v2/health/ready").status == 200
        server.load_gate.release()
        server.until_logged("serving again")
        os.kill(second, signal.SIGKILL)
        clients.until_answered()

    assert clients.wrong == []
    assert restarts(server) == {"killed": 2}


# The end of the main process


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "in a call"])
def test_no_model_process_outlives_a_killed_server(start: Start, is_busy: bool) -> None:
    server = start("--model.replicas", "2")
    models = server.model_pids
    if is_busy:
        server.send([Row.HANGS])
        wait_until(lambda: server.calls)
    server.signal(signal.SIGKILL)
    began = time.monotonic()
    wait_until(lambda: not any(map(is_alive, models)), what="the end of all model processes")

    assert len(models) == 2
    assert time.monotonic() - began < 1


def test_a_killed_server_leaves_nothing_on_disk(start: Start, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = list(Path("/dev/shm").iterdir())
    server = start(environ={"TMPDIR": str(temporary)})
    large = [[number] for number in range(50_000)]
    assert server.post(large).prediction[-1] == 3 * 49_999 + 1  # by way of shared memory
    server.signal(signal.SIGKILL)
    server.exit_code()

    assert list(temporary.iterdir()) == []
    assert list(Path("/dev/shm").iterdir()) == before


def test_a_start_removes_what_earlier_versions_left(start: Start, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    old, new, other = (
        temporary / name for name in ("keras-batch-server-a", "keras-batch-server-b", "other")
    )
    for folder in (old, new, other):
        folder.mkdir(parents=True)
        (folder / "1.keras").touch()
    for folder in (old, other):
        os.utime(folder, (0, 0))
    start(environ={"TMPDIR": str(temporary)})

    assert sorted(temporary.iterdir()) == [new, other]


@pytest.mark.torture
def test_ctrl_c_reaches_all_processes_and_loses_nothing(start: Start) -> None:
    """A terminal signals the whole group, model processes too."""
    server = start(*QUICK, process_group=0)
    held = server.occupy()
    waiting = [server.send([n]) for n in range(1, 20)]
    server.settle()
    os.killpg(server.process.pid, signal.SIGINT)
    server.until_logged("draining")
    assert is_alive(server.model_pid)
    server.gate.release()

    assert held.answer().prediction == 1
    assert [each.answer().prediction for each in waiting] == [3 * n + 1 for n in range(1, 20)]
    assert server.exit_code() == 0
    assert "starting it again" not in server.stderr


# The start


def test_it_listens_at_once_and_is_alive_while_the_model_loads(start: Start) -> None:
    """CPU time is compared with the limit, as tests beside this one make it wait for a core."""
    began = time.monotonic()
    server = start(ready=False)
    server.load_gate.hold()
    assert server.get("/v2/health/live").status == 200
    seconds, computed = time.monotonic() - began, server.cpu_seconds()
    print(f"alive after {seconds * 1000:.0f} ms, {computed * 1000:.0f} ms of them computing")

    assert computed < 2 * LISTENS_WITHIN  # a core that is shared is slower, too
    server.load_gate.release()
    server.until_ready()


DELAYS = [0, 0.02, 0.05, 0.1, 0.2, 0.4]  # seconds from the first line of the program on
UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def handles(pid: int, number: signal.Signals) -> bool:
    """Return whether a process catches or ignores a signal."""
    masks = re.findall(r"^Sig(?:Cgt|Ign):\s+(\w+)$", status(pid), re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def can_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_unshare(), reason="needs unshare (util-linux), and to be root")
@pytest.mark.parametrize("delay", DELAYS)
def test_a_sigterm_ends_the_first_process_of_a_container_whenever_it_comes(
    start: Start, delay: float
) -> None:
    """Before Python runs the program's first line, nobody can handle it: see what that takes."""
    began = time.monotonic()
    server = start(*QUICK, command=(*UNSHARE, *FAKE), ready=False)
    first = server.model_pid  # of unshare, which is not number 1 itself
    wait_until(lambda: handles(first, signal.SIGTERM), what="a handler")
    print(f"handled from {(time.monotonic() - began) * 1000:.0f} ms on")
    time.sleep(delay)
    os.kill(first, signal.SIGTERM)

    assert server.exit_code(within=5) == 0
    assert "Traceback" not in server.stderr


def test_a_sighup_never_ends_it(start: Start) -> None:
    server = start(ready=False)
    wait_until(lambda: handles(server.process.pid, signal.SIGHUP), what="a handler")
    while "ready: " not in server.stderr:
        server.signal(signal.SIGHUP)
        time.sleep(0.01)
    server.until_ready()
    server.signal(signal.SIGHUP)

    assert server.post([2]).prediction == 7
    server.signal()
    while server.is_running():
        server.signal(signal.SIGHUP)
        time.sleep(0.01)
    assert server.exit_code() == 0


@pytest.mark.torture
@pytest.mark.keras
def test_standard_error_is_json_without_exception(start: Start, example_model: Path) -> None:
    """TensorFlow's own lines too, and those of a process that is killed and started again."""
    as_json = {"SERVER_LOGGING__FORMAT": "json", "SERVER_LOGGING__LEVEL": "debug"}
    server = start(str(example_model), *QUICK, command=REAL, environ=as_json, ready=False)
    server.until_logged("ready: ", within=90)
    server.kill_model()
    server.until_logged("serving again", within=90)
    server.signal()
    assert server.exit_code() == 0

    lines = [json.loads(line) for line in server.stderr.splitlines()]
    assert all({"time", "level", "logger"} <= line.keys() for line in lines)
    ours = [line for line in lines if line["logger"] == "model.my_best_model"]
    assert {"loading", "making the first calls"} <= {line["message"] for line in ours}
    assert any("TensorFlow" in line["message"] or "oneDNN" in line["message"] for line in ours)
    assert {line["level"] for line in ours} <= {"debug", "info"}
