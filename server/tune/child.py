"""Runs the server with given settings in a child process."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from server.loadtest.client import Target
from server.loadtest.target_server import fetch

ROOT = Path(__file__).parents[2]
SERVER = (sys.executable, "-P", "-m", "server")
READY_WITHIN = 300.0  # seconds; a large model is warmed up with all its rows
STOP_WITHIN = 20.0
POLL_INTERVAL = 0.1
TAIL_BYTES = 64 * 1024
LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+),")


Sections = Mapping[str, Mapping[str, float | str]]
"""Settings: the values of each section."""


class CannotServe(Exception):
    """The server did not start, or stopped early; the message is one line."""


@contextlib.contextmanager
def serving(model: str, settings: Sections, command: Sequence[str] = SERVER) -> Iterator[str]:
    """Serve `model` with these settings, and yield the URL; raises CannotServe.

    All other settings have their defaults: configuration files and SERVER_ variables are ignored.
    Logs are written as in production, and discarded.
    """
    with tempfile.TemporaryDirectory(prefix="tune-") as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(_config(settings))
        process = log = None
        try:
            with deferred(signal.SIGTERM, signal.SIGINT):  # else the child could be left running
                process = _start([*command, model, "--config", str(config)])
            log = Tail(process)
            yield _wait_until_ready(process, log)
        finally:
            if process:
                _stop(process)
            if log:
                log.close()


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # this project's own server
        command,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches the parent only, which stops the child
    )


@contextlib.contextmanager
def deferred(*numbers: signal.Signals) -> Iterator[None]:
    """Deliver these signals at the end of the block; main thread only."""
    came: list[int] = []
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in numbers}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in came:
            signal.raise_signal(number)


class Tail:
    """Reads the standard error of a process and keeps its last TAIL_BYTES."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self._file = process.stderr
        self._bytes = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """The text kept so far."""
        return self._bytes.decode(errors="replace")

    def wait(self) -> None:
        """Wait until everything is read; the process must have ended."""
        self._thread.join()

    def close(self) -> None:
        """Close the pipe; the process must have ended."""
        self.wait()
        self._file.close()

    def _read(self) -> None:
        while piece := os.read(self._file.fileno(), TAIL_BYTES):
            self._bytes = (self._bytes + piece)[-TAIL_BYTES:]


def _config(settings: Sections) -> str:
    """Return the settings as YAML, which JSON is."""
    document = {"http": {"port": 0, "drain_grace_ms": 0}, **settings}
    return json.dumps({name: dict(section) for name, section in document.items()})


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SERVER_")}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def _wait_until_ready(process: subprocess.Popen[bytes], log: Tail) -> str:
    give_up = time.monotonic() + READY_WITHIN
    while time.monotonic() < give_up:
        if process.poll() is not None:
            log.wait()
            raise CannotServe(_last_line(log.text))
        found = LISTENING.search(log.text)
        if found and _is_ready(int(found[1])):
            return f"http://127.0.0.1:{found[1]}"
        time.sleep(POLL_INTERVAL)
    raise CannotServe(f"the server was not ready within {READY_WITHIN:g} s")


def _is_ready(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return fetch(Target("127.0.0.1", port, "/v2/health/ready"))[0] == 200
    return False


def _last_line(text: str) -> str:
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    return lines[-1] if lines else "the server exited without an error message"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
