"""Limited resources: readers of standard output, disk space, connections, file descriptors."""

from __future__ import annotations

import http.client
import os
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import Answer, Client, Server, free_port, wait_until

pytestmark = pytest.mark.process

ROWS = 2_000
ONE_BATCH = f"--batching.max_rows={ROWS}"
LARGE = [[n] for n in range(ROWS)]  # its line is about 25 kB, a pipe holds 64 KiB


def ask_often(server: Server, times: int = 100) -> None:
    """Send requests with large payloads over one connection, and check each answer."""
    client = server.connect()
    for _ in range(times):
        assert client.send(LARGE).answer(keep=True).prediction[-1] == 3 * (ROWS - 1) + 1
    client.close()


def test_a_full_stdout_pipe_does_not_block_the_server(start: Start) -> None:
    """It blocks neither answers nor shutdown, which waits for the log only for a limited time."""
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing):
        server = start(ONE_BATCH, "--http.drain_grace_ms", "0", stdout=writing)
        ask_often(server)
        began = time.monotonic()
        server.signal()

        assert server.exit_code(within=10) == 0
        assert time.monotonic() - began < 5
    assert "Traceback" not in server.stderr


def test_a_broken_stdout_pipe_does_not_stop_the_server(start: Start) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing):
        server = start(ONE_BATCH, "--http.drain_grace_ms", "0", stdout=writing)
        os.close(reading)
        ask_often(server, 50)
        until_dropped(server, 50)
        assert_ends_promptly(server)
    assert server.stderr.count("payload lines are lost: Broken pipe") == 1


@pytest.mark.torture
def test_a_closed_stdout_does_not_stop_the_server(start: Start) -> None:
    """The next file opened gets its descriptor, and must not receive the lines."""
    server = start(ONE_BATCH, "--http.drain_grace_ms", "0", shell="exec >&-")
    ask_often(server, 50)
    until_dropped(server, 50)
    assert_ends_promptly(server)
    assert server.stderr.count("payload lines are lost") == 1


@pytest.mark.torture
@pytest.mark.parametrize(
    "shell",
    [
        pytest.param("exec 2>&-", id="closed from the start"),
        pytest.param("mkfifo pipe && exec 2<>pipe", id="a pipe that nobody reads"),
    ],
)
def test_a_full_stderr_pipe_does_not_block_the_server(start: Start, shell: str) -> None:
    """The access log of these requests is larger than a pipe."""
    port = free_port()
    arguments = ("--http.drain_grace_ms", "0", "--http.port", str(port))
    server = start(*arguments, ready=False, shell=shell)
    server.port = port
    wait_until(server.is_listening, what="listening")
    server.until_ready()
    client = server.connect()
    for n in range(800):
        assert client.send([n]).answer(keep=True).prediction == 3 * n + 1
    assert_ends_promptly(server)


@pytest.mark.torture
def test_a_full_disk_does_not_stop_the_server(start: Start) -> None:
    server = start(ONE_BATCH, "--http.drain_grace_ms", "0", "--logging.file", "/dev/full")
    ask_often(server, 20)
    until_dropped(server, 20)
    assert_ends_promptly(server)
    assert server.stderr.count("payload lines are lost: No space left on device") == 1


def test_a_removed_log_file_is_created_again(start: Start) -> None:
    server = start(ONE_BATCH, "--http.drain_grace_ms", "0", "--logging.file", "payloads.jsonl")
    file = server.folder / "payloads.jsonl"
    ask_often(server, 10)
    wait_until(lambda: lines_in(file) == 10, what="the lines")
    file.unlink()
    ask_often(server, 10)
    wait_until(lambda: lines_in(file) == 10, what="the lines of a new file")

    assert dropped(server) == 0
    assert_ends_promptly(server)


@pytest.mark.torture
def test_log_lines_are_counted_as_dropped_while_the_folder_is_missing(start: Start) -> None:
    server = start(
        ONE_BATCH, "--http.drain_grace_ms", "0", "--logging.file", "logs/payloads.jsonl",
        shell="mkdir logs",
    )  # fmt: skip
    logs = server.folder / "logs"
    ask_often(server, 10)
    wait_until(lambda: lines_in(logs / "payloads.jsonl") == 10, what="the lines")
    logs.rename(server.folder / "gone")
    ask_often(server, 10)
    until_dropped(server, 10)
    logs.mkdir()
    ask_often(server, 10)
    wait_until(lambda: lines_in(logs / "payloads.jsonl") == 10, what="the lines after that")

    assert dropped(server) == 10
    assert_ends_promptly(server)
    assert server.stderr.count("payload lines are lost: No such file or directory") == 1


def lines_in(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def until_dropped(server: Server, lines: int) -> None:
    """Wait until exactly `lines` lines are counted as dropped."""
    wait_until(lambda: dropped(server) >= lines, what=f"{lines} lines dropped")
    assert dropped(server) == lines


def dropped(server: Server) -> int:
    """Return the number of dropped payload lines, from the metrics."""
    return int(server.metric("payload_lines_dropped_total"))


def assert_ends_promptly(server: Server) -> None:
    server.signal()
    assert server.exit_code(within=10) == 0
    assert "Traceback" not in server.stderr


def assert_is_refusal(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Connection"] == "close"
    assert answer.json["type"].endswith("too-many-connections")
    assert int(answer.headers["Retry-After"]) >= 1


def fill(server: Server, connections: int) -> list[Client]:
    """Open connections, and make a request on each."""
    return [connect_and_stay(server) for _ in range(connections)]


def connect_and_stay(server: Server) -> Client:
    """Connect as soon as the server has room; connections of earlier clients may still be open."""
    clients: list[Client] = []

    def is_in() -> bool:
        clients.append(server.connect())
        return clients[-1].send([1]).answer(keep=True).status == 200

    wait_until(is_in, what="room for a connection")
    return clients[-1]


def test_connections_above_the_limit_get_503_and_others_are_served(start: Start) -> None:
    server = start("--http.max_connections", "5")
    kept = fill(server, 5)

    for _ in range(20):
        assert_is_refusal(server.post([2]))
    assert [each.send([3]).answer(keep=True).prediction for each in kept] == [10] * 5
    for client in kept:
        client.close()
    wait_until(lambda: server.post([4]).status == 200, what="recovery")


def test_a_connection_above_the_limit_gets_503_also_for_a_body_sent_later(start: Start) -> None:
    """Most libraries send the head first, then the body; the 503 must not be lost to a reset."""
    server = start("--http.max_connections", "1")
    [kept] = fill(server, 1)
    for _ in range(50):
        client = server.connect()
        client.send_bytes(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        client.send_bytes(b'{"data":')
        client.send_bytes(b"1")
        assert_is_refusal(client.answer())
    kept.close()


FEW_FILES = 320


@pytest.fixture
def crowded_server(start: Start) -> Server:
    """A server that can open few files, and so accepts few connections."""
    server = start(shell=f"ulimit -n {FEW_FILES}")
    pattern = rf"WARNING server\S*: only {FEW_FILES} files can be open: .+ is (\d+)"
    server.until_logged(f"only {FEW_FILES} files can be open")
    lowered = re.search(pattern, server.stderr)
    assert lowered
    assert 1 <= int(lowered[1]) < FEW_FILES / 2
    return server


def test_a_low_file_limit_lowers_the_connection_limit(crowded_server: Server) -> None:
    """Connections above the limit get 503, others are served, and the server recovers."""
    clients = [crowded_server.connect() for _ in range(150)]
    answers = [client.send([1]).answer(keep=True) for client in clients]

    served = [answer for answer in answers if answer.status == 200]
    assert 0 < len(served) < 150
    for answer in answers:
        if answer not in served:
            assert_is_refusal(answer)
    for client in clients:
        client.close()
    wait_until(lambda: outcome(crowded_server.send([4])) == 200, what="recovery")


def test_more_clients_than_file_descriptors_use_no_cpu_when_idle(crowded_server: Server) -> None:
    """Some connections may be closed without an answer; file descriptors never run out."""
    clients = [crowded_server.connect() for _ in range(2 * FEW_FILES)]
    outcomes = Counter(outcome(client.send([1])) for client in clients)
    assert outcomes.keys() <= {200, 503, "closed"}, outcomes
    assert outcomes[200]
    assert outcomes[503]
    before = crowded_server.cpu_seconds()
    time.sleep(0.5)  # the server should be idle during this time

    assert crowded_server.cpu_seconds() - before < 0.2
    for client in clients:
        client.close()
    wait_until(lambda: outcome(crowded_server.send([4])) == 200, what="recovery")
    assert "Too many open files" not in crowded_server.stderr
    assert "Traceback" not in crowded_server.stderr


def outcome(client: Client) -> int | str:
    try:
        return client.answer(keep=True).status
    except (ConnectionError, http.client.HTTPException):
        return "closed"
