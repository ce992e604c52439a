"""Runs the service and load tests as child processes, with clients over real sockets."""

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
# The default in tests: they read the log, and say when models are loaded.
AS_TEXT = {"SERVER_LOGGING__FORMAT": "text", "SERVER_MODEL__POLL_S": "0"}
# The batch size need not be measured, and a busy machine rejects nothing.
FAKE_SETTINGS = {
    "SERVER_BATCHING__MAX_ROWS": "64",
    "SERVER_BATCHING__MAX_QUEUE_MS": "60000",
}
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
    """An answer, and the seconds since its request was sent."""

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
    """One connection; sending a request and reading its answer are separate steps."""

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
        """Send a request in one piece; it is a POST if there is data.

        A server that rejects a connection may have closed it already; its answer can still be read.
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
        """Send bytes; ignores that the server may have closed the connection."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def answer(self, *, keep: bool = False) -> Answer:
        """Read an answer, and close the connection unless `keep` is True."""
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
        """Return whether the server has closed the connection; for use between two answers."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()


class Gate:
    """A lock with which a test blocks the fake model; see `serve_fake`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def hold(self) -> None:
        """Block the model at the gate."""
        self._file = self._path.open("a")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        """Let the model continue."""
        if self._file:
            self._file.close()
            self._file = None


class Child:
    """A child process with its output in files; it is killed at the end of the block."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        environ: Mapping[str, str] | None = None,
        stdout: int | None = None,
        shell: str = "",
        process_group: int | None = None,
    ) -> None:
        """Run `command` in a new `folder`, after the commands of `shell` in the same process.

        A `process_group` of 0 is one of its own.
        """
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
                process_group=process_group,
            )

    @property
    def stdout(self) -> str:
        """The standard output so far."""
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        """The standard error so far."""
        return (self.folder / "stderr").read_text()

    def until_logged(self, words: str, within: float = WITHIN) -> None:
        """Wait until a log line has `words`: lines may be written later than the answers."""
        wait_until(lambda: words in self.stderr or not self.is_running(), within, words)
        assert words in self.stderr, f"exited with {self.exit_code()}:\n{self.stderr}"

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def exit_code(self, within: float = WITHIN) -> int:
        """Wait until the process exits."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"still running after {within:g} s:\n{self.stderr}") from None

    def is_running(self) -> bool:
        return self.process.poll() is None

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far."""
        return cpu_seconds(self.process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


class Server(Child):
    """The service on a free port, by default with a fake model."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        command: Sequence[str] = FAKE,
        environ: Mapping[str, str] | None = None,
        stdout: int | None = None,
        shell: str = "",
        process_group: int | None = None,
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
                **(FAKE_SETTINGS if command == FAKE else {}),
                **(environ or {}),
            },
            stdout=stdout,
            shell=shell,
            process_group=process_group,
        )

    @cached_property
    def port(self) -> int:
        """The port that the server listens on; waits until it does."""
        address = r"listening on http://127\.0\.0\.1:(\d+),"
        wait_until(
            lambda: re.search(address, self.stderr) or not self.is_running(),
            what="listening on …",
        )
        found = re.search(address, self.stderr)
        assert found, f"exited with {self.exit_code()}:\n{self.stderr}"
        return int(found[1])

    @property
    def calls(self) -> list[list[float]]:
        """The rows of every call of the fake model since the server was ready."""
        return self._all_calls()[self._load_calls :]

    @property
    def model_pids(self) -> list[int]:
        """The model processes, the oldest first."""
        return children(self.process.pid)

    @property
    def model_pid(self) -> int:
        """The only model process; waits for it."""
        wait_until(lambda: len(self.model_pids) == 1, what="one model process")
        return self.model_pids[0]

    def kill_model(self) -> int:
        """Kill the only model process, and return its id."""
        pid = self.model_pid
        os.kill(pid, signal.SIGKILL)
        return pid

    def is_listening(self) -> bool:
        """Return whether the server accepts connections."""
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def until_ready(self) -> Self:
        """Wait until the server is ready for predictions."""
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
        """Request a prediction over a new connection, without waiting for the answer."""
        return self.connect().send(data, headers)

    def post(self, data: object, headers: Mapping[str, str] | None = None) -> Answer:
        """Request a prediction over a new connection, and return the answer."""
        return self.send(data, headers).answer()

    def get(self, path: str) -> Answer:
        return self.connect().send(path=path).answer()

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        text = self.get("/metrics").body.decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found, name
        return float(found[1])

    def occupy(self) -> Client:
        """Block the model in a call; its answer can be read after the gate is released."""
        before = len(self.calls)
        self.gate.hold()
        client = self.send([0])
        wait_until(lambda: len(self.calls) > before, what="the blocked call")
        return client

    def settle(self) -> None:
        """Return when the server has read all earlier requests, by making a few round trips."""
        for _ in range(3):
            self.get("/v2/health/live")

    def _all_calls(self) -> list[list[float]]:
        with contextlib.suppress(FileNotFoundError):
            lines = (self.folder / "calls").read_text().split("\n")
            return [json.loads(line) for line in lines[:-1]]
        return []

    def release_all(self) -> None:
        """Close all connections and release the model."""
        self.gate.release()
        self.load_gate.release()
        while self._clients:
            self._clients.pop().close()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.release_all()


class LoadTest(Child):
    """A load test of a server, as a child process."""

    def __init__(self, server: Server, folder: Path, *arguments: str) -> None:
        url = f"http://127.0.0.1:{server.port}"
        self._json = folder / "figures.json"
        super().__init__([*LOAD_TEST, "--url", url, "--json", str(self._json), *arguments], folder)

    def figures(self, within: float = 60.0) -> dict[str, Any]:
        """Wait until it exits, and return its results."""
        code = self.exit_code(within)
        assert self._json.exists(), f"exited with {code}:\n{self.stderr}"
        numbers: dict[str, Any] = json.loads(self._json.read_bytes())
        return numbers


def stat(pid: int | str) -> list[str]:
    """Return what /proc/PID/stat holds behind the name: state, parent and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int, thread: int | None = None) -> float:
    """Return the processor time that a process, or one of its threads, has used."""
    fields = stat(pid if thread is None else f"{pid}/task/{thread}")
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> int:
    """Return the bytes of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state, parent = stat(int(entry.name))[:2]
                if int(parent) == pid and state != "Z":
                    found.append(int(entry.name))
    return sorted(found)


def is_alive(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    try:
        return stat(pid)[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def free_port() -> int:
    """Return an unused port, for a server whose log the test cannot read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def environment() -> dict[str, str]:
    """Return the current environment without settings of a server, and with the project's path."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SERVER_", "FAKE_"))
    }
    return kept | {"PYTHONPATH": str(CHECKOUT)}
