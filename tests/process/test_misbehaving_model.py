"""Models that raise, hang, leak memory, lose their thread, or return invalid predictions."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.fake_model import GROWTH, Row
from tests.process.harness import REAL, Server, is_alive, memory_of, wait_until

pytestmark = pytest.mark.process

SHORT = "--model.hang_timeout_s=0.5"
NO_GRACE = ("--http.drain_grace_ms", "0")
AT_ONCE = 5.0  # seconds; other processes may slow the machine down


def answers_behind(server: Server, rows: list[float]) -> list[int]:
    """Send all rows in one batch, after a blocked call; return the statuses.

    Checks that the answers with 200 are right.
    """
    held = server.occupy()
    clients = [server.send([row]) for row in rows]
    server.settle()
    server.gate.release()
    assert held.answer().prediction == 1
    answers = [client.answer() for client in clients]
    for row, answer in zip(rows, answers, strict=True):
        assert answer.status != 200 or answer.prediction == 3 * row + 1
    assert sorted(server.calls[1]) == sorted(rows), "not one batch"
    return [answer.status for answer in answers]


def assert_fine(server: Server) -> None:
    """Check that the server is alive, ready and answers."""
    assert server.get("/v2/health/live").status == 200
    assert server.get("/v2/health/ready").status == 200
    assert server.post([2]).prediction == 7


@pytest.mark.parametrize(
    "row, expected",
    [
        (Row.RAISES, [200, 200, 500, 200]),
        pytest.param(Row.RAISES_ONCE, [200, 200, 200, 200], marks=pytest.mark.torture),
        pytest.param(Row.NOT_A_NUMBER, [200, 200, 500, 200], marks=pytest.mark.torture),
        # It is unknown which predictions are missing.
        pytest.param(Row.TOO_FEW, [500, 500, 500, 500], marks=pytest.mark.torture),
        (Row.NO_MEMORY, [200, 200, 500, 200]),
    ],
    ids=lambda value: value.name if isinstance(value, Row) else "",
)
def test_only_rows_that_fail_the_model_get_errors(
    start: Start, row: Row, expected: list[int]
) -> None:
    server = start(shell="ulimit -v 3000000")  # kB; a fake model needs half a GB

    assert answers_behind(server, [5, 6, row, 7]) == expected
    assert_fine(server)


def test_a_model_that_raises_is_counted_and_can_recover(start: Start) -> None:
    server = start()
    answers = [server.post([Row.RAISES]) for _ in range(20)]

    assert {answer.status for answer in answers} == {500}
    text = server.get("/metrics").body.decode()
    assert re.search(r'^predict_requests_total{.*status="500"} 20\.0$', text, re.MULTILINE)
    assert_fine(server)


def test_a_leaking_model_fails_at_the_memory_limit_and_the_server_survives(start: Start) -> None:
    """Small requests are still answered after the model can allocate no more memory."""
    server = start(shell="ulimit -v 1500000")
    before = memory_of(server.model_pid)
    assert server.post([Row.GROWS]).status == 200
    assert memory_of(server.model_pid) - before > 0.9 * GROWTH

    statuses = [server.post([Row.GROWS]).status for _ in range(40)]
    assert set(statuses) == {200, 500}
    assert statuses[-1] == 500
    server.until_logged("MemoryError")
    assert_fine(server)


@pytest.mark.torture
@pytest.mark.keras
def test_a_network_that_runs_out_of_memory_fails_only_its_request(
    start: Start, tmp_path: Path
) -> None:
    """TensorFlow may use 3.5 GB of address space; this one request needs 1.6 GB more."""
    wide_network(tmp_path / "wide.keras")
    server = start(
        str(tmp_path / "wide.keras"), "--batching.max_rows", "8",
        command=REAL, shell="ulimit -v 3500000",
    )  # fmt: skip
    fine = server.post([[1.0]] * 16).prediction

    assert server.post([[1.0]] * 100_000).status == 500  # after 10 s, because TensorFlow retries
    assert server.post([[1.0]] * 16).prediction == pytest.approx(fine, abs=1e-5)
    server.until_logged("OOM when allocating tensor with shape[100000,4096]")
    assert server.get("/v2/health/live").status == server.get("/v2/health/ready").status == 200


def wide_network(path: Path) -> None:
    """Save a network whose memory grows with the length of its input."""
    import keras
    from keras import layers

    hidden = [layers.Dense(4096, activation="relu"), layers.GlobalAveragePooling1D()]
    keras.Sequential([keras.Input((None, 1)), *hidden, layers.Dense(1)]).save(path)


def test_a_call_that_hangs_costs_its_process_and_nothing_else(start: Start) -> None:
    """Requests are answered 504 at their deadline; the next ones by a new process."""
    server = start("--batching.deadline_ms", "700")
    pid, model = server.process.pid, server.model_pid
    kept = server.connect()
    assert kept.send([1]).answer(keep=True).prediction == 4
    hung = kept.send([Row.HANGS]).answer(keep=True)
    assert hung.status == 504
    assert 0.6 < hung.seconds < 0.7 + AT_ONCE
    wait_until(lambda: not is_alive(model), what="the end of the process that hangs")
    server.until_ready()
    assert kept.send([2]).answer(keep=True).prediction == 7
    kept.close()

    assert (server.process.pid, server.is_running()) == (pid, True)
    server.until_logged("a call has taken more than 0.7 s (model.hang_timeout_s)")
    metrics = server.get("/metrics").body.decode()
    assert re.search(r'^predict_model_restarts_total{.*reason="hang"} 1\.0$', metrics, re.MULTILINE)
    assert "Traceback" not in server.stderr
    assert_fine(server)


def test_a_request_that_hangs_twice_fails_and_its_neighbours_do_not(start: Start) -> None:
    """The limit on a call is shorter than the deadline, so that it is called again, alone."""
    server = start(SHORT)
    assert answers_behind(server, [5, 6, Row.HANGS, 7]) == [200, 200, 500, 200]
    server.until_ready()
    assert_fine(server)


def test_without_a_hang_timeout_a_hung_call_does_not_end_the_process(start: Start) -> None:
    server = start("--model.hang_timeout_s", "0", "--batching.deadline_ms", "100")
    assert server.occupy().answer().status == 504

    assert server.metric("predict_model_busy_seconds") >= 0.1
    assert server.get("/v2/health/live").status == 200


def test_slow_loading_is_not_a_hung_call(start: Start) -> None:
    """Loading may take longer than a call."""
    server = start("--model.hang_timeout_s", "0.1", ready=False)
    server.load_gate.hold()
    assert server.port
    time.sleep(0.5)  # nothing should happen during this time
    assert server.get("/v2/health/live").status == 200
    server.load_gate.release()
    server.until_ready()

    assert_fine(server)


def test_a_process_stopped_for_a_second_loses_no_request(start: Start) -> None:
    """In the middle of a call, with requests behind it, and more than a call may take."""
    server = start(SHORT)
    held = server.occupy()
    waiting = [server.send([n]) for n in range(1, 20)]
    server.settle()
    server.signal(signal.SIGSTOP)
    time.sleep(1)
    late = [server.send([n]) for n in range(20, 40)]  # accepted by the operating system
    server.gate.release()
    server.signal(signal.SIGCONT)

    predictions = [client.answer().prediction for client in [held, *waiting, *late]]
    assert predictions == [3 * n + 1 for n in range(40)]
    assert_fine(server)


def test_a_sigterm_in_a_call_that_hangs_waits_for_the_others(start: Start) -> None:
    """The process is killed and started again while the service drains."""
    server = start(SHORT, *NO_GRACE)
    held = server.occupy()
    others = [server.send([row]) for row in (5, Row.HANGS, 6)]
    server.settle()
    server.signal()
    server.until_logged("draining")
    server.gate.release()

    assert held.answer().prediction == 1
    answers = [client.answer() for client in others]
    assert [answer.status for answer in answers] == [200, 500, 200]
    assert server.exit_code() == 0
