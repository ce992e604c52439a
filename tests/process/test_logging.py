"""The logs of a process, written to a pipe and to a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.process.conftest import Start
from tests.process.fake_model import POISON
from tests.process.harness import CHECKOUT, Client, Server, wait_until

pytestmark = pytest.mark.process

AS_IT_COMES = ("--logging.format", "auto")
LONG = 16_000  # of 16,384 bytes that a request line and headers may have together


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_is_json_and_names_its_request(start: Start) -> None:
    server = start(*AS_IT_COMES)
    for number, id_ in [(10, "good"), ([], "refused"), (POISON, "unlucky")]:
        server.post([number], {"X-Request-ID": id_})
    server.connect().send(path="/a\\u2028b%0aINFO", headers={"X-Request-ID": "lost"}).answer()
    server.signal()
    assert server.exit_code() == 0

    told = lines(server.stderr)
    assert all(list(line)[:3] == ["time", "level", "logger"] for line in told)
    access = {
        line["request_id"]: line["status"] for line in told if line["logger"] == "server.access"
    }
    assert access | {"good": 200, "refused": 422, "unlucky": 500, "lost": 404} == access
    [batch] = [line for line in told if line.get("request_ids") == ["unlucky"]]
    assert batch["level"] == "error"
    assert batch["traceback"].startswith("Traceback")
    assert f"{POISON} is poison" in batch["traceback"]
    messages = [line.get("message") for line in told if line.get("request_id") == "unlucky"]
    assert f"the model failed: ValueError: {POISON} is poison" in messages
    assert [line["request_id"] for line in lines(server.stdout)][-1:] == ["good"]


@pytest.mark.parametrize("transport", ["llhttp", "tornado"])
def test_probes_and_scrapes_have_no_access_line(start: Start, transport: str) -> None:
    server = start(*AS_IT_COMES, "--http.transport", transport)
    skipped = ("/v2/health/live", "/v2/health/ready", "/v2/health/ready/", "/metrics?a=b")
    for path in (*skipped, "/v2/health/live/nothing"):
        server.get(path)
    server.post([10])
    server.signal()
    assert server.exit_code() == 0

    access = [line for line in lines(server.stderr) if line["logger"] == "server.access"]
    shown = [(line["method"], line["path"]) for line in access if line["status"] != 503]
    assert shown == [("GET", "/v2/health/live/nothing"), ("POST", "/predict")]


@pytest.fixture
def terminal() -> Iterator[tuple[str, Callable[[], str]]]:
    """A pseudo terminal: its path, and a function that returns its output so far."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    text = b""

    def read() -> str:
        nonlocal text
        with contextlib.suppress(BlockingIOError):
            text += os.read(ours, 65_536)
        return text.decode(errors="replace")  # it may end in the middle of a character

    yield os.ttyname(theirs), read
    os.close(ours)
    os.close(theirs)


def test_log_lines_on_a_terminal_are_coloured(
    start: Start, terminal: tuple[str, Callable[[], str]]
) -> None:
    path, read = terminal
    environ = {"TERM": "xterm", "NO_COLOR": ""}
    server = start(*AS_IT_COMES, ready=False, shell=f"exec 2>{path}", environ=environ)
    wait_until(lambda: "ready: " in read(), what="the log line on the terminal")
    found = re.search(r"listening on http://127\.0\.0\.1:(\d+),", read())
    assert found
    Client(int(found[1])).send([10], {"X-Request-ID": "seen"}).answer()
    wait_until(lambda: "seen" in read(), what="the line of the request")

    [line] = [line for line in read().splitlines() if "seen" in line]
    assert "\x1b[32mINFO\x1b[0m" in line
    plain = re.sub(r"\x1b\[\d+m", "", line)
    assert re.fullmatch(
        r"\S+Z INFO server\.access: POST /predict 200 [\d.]+ ms seen from 127\.0\.0\.1", plain
    )
    assert server.stderr == ""


def rejected_requests() -> Iterator[tuple[str, bytes]]:
    """Yield requests that are rejected; in each, one part is as long as possible."""
    id_ = "i" * 128
    fields = f"Host: localhost\r\nX-Request-ID: {id_}\r\nContent-Type: application/json\r\n"

    def post(body: bytes, path: str = "/predict", more: str = "") -> bytes:
        head = f"POST {path} HTTP/1.1\r\n{fields}{more}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    yield from _long_bodies(post)
    yield "a long path", post(b"{}", "/" + "p" * (LONG - 300))
    yield "a long path with escapes", post(b"{}", "/" + "%0a" * 5000)
    yield "a long model's name", post(b"{}", f"/v1/models/{'m' * 15_000}:predict")
    yield "a long query", post(b"{}", "/nothing?" + "q=1&" * 3800)
    yield "a long timeout", post(b'{"data":[1]}', more=f"X-Request-Timeout-Ms: {'9' * 15_000}\r\n")
    yield "a long media type", post(b"{}", more=f"Content-Encoding: {'c' * 15_000}\r\n")
    yield "a change without a key", post(b"{}", f"/v2/repository/models/{'r' * 15_000}/load")
    yield "no method", f"{'M' * 10_000} /predict HTTP/1.1\r\n{fields}\r\n".encode()
    yield "no HTTP", b"\x16\x03\x01" + b"h" * 15_000 + b"\r\n\r\n"
    yield "a bad header", f"GET / HTTP/1.1\r\n{fields}{'b' * 15_000}\r\n\r\n".encode()
    yield (
        "two lengths",
        f"POST / HTTP/1.1\r\n{fields}Content-Length: {'1,' * 7000}\r\n\r\n".encode(),
    )
    yield "headers that are too long", f"GET / HTTP/1.1\r\nX: {'l' * 70_000}\r\n\r\n".encode()


def _long_bodies(post: Callable[..., bytes]) -> Iterator[tuple[str, bytes]]:
    cells = b",".join([b'"\\n%d"' % n for n in range(2048)])
    yield "no JSON", post(b"\n{INFO" * 1000)
    yield "2,048 bad cells", post(b'{"data":[%b]}' % cells)
    yield "a long string", post(b'{"data":"%b"}' % (b"\\u2028" * 35_000))
    yield "deep", post(b"[" * 100_000)
    yield "a long member", post(b'{"%b":1}' % (b"x" * 200_000))
    yield (
        "a long name of an input",
        post(
            b'{"inputs":[{"name":"%b","shape":[1],"datatype":"FP32","data":[1]}]}' % (b"y" * 9000),
            "/v2/models/my_best_model/infer",
        ),
    )
    yield (
        "a long signature's name",
        post(
            b'{"signature_name":"%b","instances":[[1]]}' % (b"z" * 9000),
            "/v1/models/my_best_model:predict",
        ),
    )
    yield "too large a body", post(b"x" * 200_001 * 45)


def beginning(client: Client) -> bytes:
    """Return the first bytes of an answer, or nothing if the connection is reset."""
    try:
        return client.socket.recv(12)
    except ConnectionError:
        return b""


def until_mark(server: Server, mark: str, start: int) -> str:
    """Make the model fail, wait for its log lines, and return the log since `start`.

    Lines are written in order, so all earlier lines are there, too. A failure writes two lines to
    the application log and one to the access log.
    """
    server.post([POISON], {"X-Request-ID": mark})
    wait_until(lambda: len(re.findall(f"{mark}.*\n", server.stderr[start:])) == 3, what=mark)
    return server.stderr[start:]


@pytest.mark.parametrize("transport, form", [("llhttp", "text"), ("tornado", "json")])
def test_a_rejected_request_logs_at_most_400_bytes(start: Start, transport: str, form: str) -> None:
    server = start("--http.transport", transport, "--logging.format", form)
    read = len(until_mark(server, "from-here", 0))
    for number, (what, request) in enumerate(rejected_requests()):
        client = server.connect()
        client.send_bytes(request)
        assert not beginning(client).startswith(b"HTTP/1.1 2"), what
        client.close()

        text = until_mark(server, f"mark-{number}", read)
        read += len(text)
        left = [
            line
            for line in text.splitlines()
            if f"mark-{number}" not in line and not line.startswith("    ")  # of its traceback
        ]
        assert sum(len(line.encode()) + 1 for line in left) <= 400, f"{what}: {text[:500]}"


def test_payload_lines_are_sampled_redacted_and_rotated(start: Start) -> None:
    server = start(
        *("--logging.file", "payloads", "--logging.payload_redact", "x,y"),
        *("--logging.file_max_bytes", "1000", "--logging.file_backups", "2"),
        *("--logging.payload_sample", "0.9"),
    )
    for number in range(100):
        assert server.post([number], {"X-Request-ID": f"{number}"}).prediction == 3 * number + 1
    server.signal()
    assert server.exit_code() == 0

    files = [server.folder / name for name in ("payloads.2", "payloads.1", "payloads")]
    assert sorted(server.folder.glob("payloads*")) == sorted(files)
    assert all(file.stat().st_size <= 1000 for file in files)
    told = [line for file in files for line in lines(file.read_text())]
    ids = [int(line["request_id"]) for line in told]
    assert ids == sorted(set(ids))
    assert {line["input"] for line in told} == {"[redacted]"}
    assert [line["prediction"] for line in told] == [3 * number + 1 for number in ids]
    assert "payload_redact: no model has an input or output y; there are: dense" in server.stderr


@pytest.mark.parametrize("stderr, expected", [(subprocess.STDOUT, "True"), (None, "False")])
def test_stdout_and_stderr_on_one_pipe_are_detected(stderr: int | None, expected: str) -> None:
    program = "from server.logs.sinks import outputs_are_one; print(outputs_are_one())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected
