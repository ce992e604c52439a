"""Starts the service, and load on it, as processes; asks over real sockets; kills what is left."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TextIO

CHECKOUT = Path(__file__).parents[2]
REAL = (sys.executable, "-m", "server")
FAKE = (sys.executable, "-m", "tests.process.serve_fake")
AS_TEXT = {"SERVER_LOGGING__FORMAT": "text"}  # where nothing else is asked for: tests read it
AT_MOST_64_ROWS = {"SERVER_BATCHING__MAX_ROWS": "64"}  # and nothing is measured
LOAD_TEST = (sys.executable, str(CHECKOUT / "scripts" / "load_test.py"))

READY_WITHIN = 90.0  # seconds; importing TensorFlow on a busy machine takes a while
WITHIN = 20.0


def wait_until(condition: Callable[[], object], within: float = WITHIN, what: str = "") -> None:
    """Return once `condition` is true; raises TimeoutError."""
    give_up = time.monotonic() + within
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"not within {within:g} s: {what or condition}")
        time.sleep(0.005)


@dataclass(frozen=True)
class Answer:
    """What came back, and after how many seconds from sending the request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def prediction(self) -> Any:
        assert self.status == 200, self.body
        return self.json["prediction"]


class Client:
    """One connection; a request can be sent long before its answer is read."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WITHIN)
        self._sent = 0.0

    def send(
        self,
        data: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        path: str = "/predict",
    ) -> Self:
        """Send a request, a POST where there is data, in one piece.

        A server that refuses may have closed before; what it said is there to read.
        """
        body = b"" if data is None else json.dumps({"data": data}).encode()
        lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "Host: localhost"]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._sent = time.perf_counter()
        self.send_bytes("\r\n".join([*lines, "", ""]).encode() + body)
        return self

    def send_bytes(self, data: bytes) -> None:
        """Send a piece of a request."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def answer(self, *, keep: bool = False) -> Answer:
        """Read an answer, and end the connection unless it is to be kept."""
        response = http.client.HTTPResponse(self.socket)
        try:
            response.begin()
            body = response.read()
            seconds = time.perf_counter() - self._sent
            return Answer(response.status, response.msg, body, seconds)
        finally:
            response.close()
            if not keep:
                self.close()

    def is_closed(self) -> bool:
        """Tell whether the server has ended the connection; to be asked between answers."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()


class Gate:
    """A lock that a fake model passes through; see `serve_fake`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def hold(self) -> None:
        """Let whoever comes wait."""
        self._file = self._path.open("a")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        """Let those who wait go on."""
        if self._file:
            self._file.close()
            self._file = None


class Child:
    """A process with its output in files, killed at the end if it is still there."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        environ: Mapping[str, str] | None = None,
        stdout: int | None = None,
        shell: str = "",
    ) -> None:
        """Run `command` in a new `folder`; `shell` is what a shell does before it becomes it."""
        folder.mkdir(parents=True)
        self.folder = folder
        if shell:
            command = ["sh", "-c", f'{shell}; exec "$@"', "sh", *command]
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment() | dict(environ or {}),
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err,
            )

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        """What it has written so far."""
        return (self.folder / "stderr").read_text()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def exit_code(self, within: float = WITHIN) -> int:
        """Wait for its end."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"still there after {within:g} s:\n{self.stderr}") from None

    def is_running(self) -> bool:
        return self.process.poll() is None

    def cpu_seconds(self) -> float:
        """The processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


class Server(Child):
    """The service on a free port, with a fake model unless told otherwise."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        command: Sequence[str] = FAKE,
        environ: Mapping[str, str] | None = None,
        stdout: int | None = None,
        shell: str = "",
    ) -> None:
        self.gate = Gate(folder / "gate")
        self.load_gate = Gate(folder / "load")
        self._load_calls = 0
        self._clients: list[Client] = []
        super().__init__(
            [*command, "--http.port", "0", *arguments],
            folder,
            environ={
                "FAKE_FOLDER": str(folder),
                **AS_TEXT,
                **(AT_MOST_64_ROWS if command == FAKE else {}),
                **(environ or {}),
            },
            stdout=stdout,
            shell=shell,
        )

    @cached_property
    def port(self) -> int:
        """Where it listens; waits for that."""
        address = r"listening on http://127\.0\.0\.1:(\d+),"
        wait_until(
            lambda: re.search(address, self.stderr) or not self.is_running(),
            what="listening on …",
        )
        found = re.search(address, self.stderr)
        assert found, f"it ended with {self.exit_code()}:\n{self.stderr}"
        return int(found[1])

    @property
    def calls(self) -> list[list[float]]:
        """The rows of every call of the fake model since it was ready."""
        return self._all_calls()[self._load_calls :]

    def is_listening(self) -> bool:
        """Tell whether it takes connections."""
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def until_ready(self) -> Self:
        """Wait until it can predict."""
        wait_until(
            lambda: self.get("/v2/health/ready").status == 200 or not self.is_running(),
            READY_WITHIN,
            "ready",
        )
        self._load_calls = len(self._all_calls())
        return self

    def connect(self) -> Client:
        client = Client(self.port)
        self._clients.append(client)
        return client

    def send(self, data: object, headers: Mapping[str, str] | None = None) -> Client:
        """Ask for a prediction over a new connection, without waiting for the answer."""
        return self.connect().send(data, headers)

    def post(self, data: object, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for a prediction over a connection of its own."""
        return self.send(data, headers).answer()

    def get(self, path: str) -> Answer:
        return self.connect().send(path=path).answer()

    def metric(self, name: str) -> float:
        """Return a metric that has no labels."""
        text = self.get("/metrics").body.decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found, name
        return float(found[1])

    def occupy(self) -> Client:
        """Hold the model in a call; the answer comes when the gate is released."""
        before = len(self.calls)
        self.gate.hold()
        client = self.send([0])
        wait_until(lambda: len(self.calls) > before, what="the call that is held")
        return client

    def settle(self) -> None:
        """Return when what was sent before has been read: round trips come after it in line."""
        for _ in range(3):
            self.get("/v2/health/live")

    def _all_calls(self) -> list[list[float]]:
        with contextlib.suppress(FileNotFoundError):
            lines = (self.folder / "calls").read_text().split("\n")
            return [json.loads(line) for line in lines[:-1]]
        return []

    def let_go(self) -> None:
        """End all connections, and hold the model no longer."""
        self.gate.release()
        self.load_gate.release()
        while self._clients:
            self._clients.pop().close()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.let_go()


class LoadTest(Child):
    """A load test on a server, in a process of its own."""

    def __init__(self, server: Server, folder: Path, *arguments: str) -> None:
        url = f"http://127.0.0.1:{server.port}"
        self._json = folder / "figures.json"
        super().__init__([*LOAD_TEST, "--url", url, "--json", str(self._json), *arguments], folder)

    def figures(self, within: float = 60.0) -> dict[str, Any]:
        """Wait for its end and return its numbers."""
        code = self.exit_code(within)
        assert self._json.exists(), f"it ended with {code}:\n{self.stderr}"
        numbers: dict[str, Any] = json.loads(self._json.read_bytes())
        return numbers


def free_port() -> int:
    """Return a port that nobody listens on, for a server that cannot say where it listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def environment() -> dict[str, str]:
    """Return this process's own without what could set a server, able to import the project."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SERVER_", "FAKE_"))
    }
    return kept | {"PYTHONPATH": str(CHECKOUT)}
