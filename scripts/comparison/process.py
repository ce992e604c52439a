"""Starts one contestant, waits for its first right answer, and kills all of its processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from scripts.comparison.contestants import Contestant
from scripts.comparison.venvs import ROOT, Missing

READY_WITHIN = 120.0  # seconds; some import TensorFlow in several processes
ANSWER_WITHIN = 60.0  # a server without batching first finishes its queue of earlier requests
STOP_WITHIN = 8.0
EXPECTED, TOLERANCE = 31.0, 0.5  # the example model has learnt 3x + 1, and the request is 10
MARK = "COMPARISON_MARK"

T = TypeVar("T")


Check = Callable[[Contestant, int], None]
"""Sends a request to a port; raises OSError or HTTPException if the server is not ready, Missing if
the answer is wrong."""


@dataclass(frozen=True)
class Running:
    """A running contestant, and the mark of all of its processes."""

    port: int
    mark: str

    def pause(self) -> None:
        """Stop all of its processes, so that they use no CPU while another one is measured."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def check_example(contestant: Contestant, port: int) -> None:
    """Compare an answer with that of the example model."""
    number = ask(contestant, port)
    if not math.isclose(number, EXPECTED, abs_tol=TOLERANCE):
        raise Missing(f"answered {number:g} instead of {EXPECTED:g}")


@contextlib.contextmanager
def running(
    contestant: Contestant,
    python: str,
    model: Path,
    check: Check = check_example,
    ready_within: float = READY_WITHIN,
) -> Iterator[Running]:
    """Run the contestant on a free port of 127.0.0.1 during the block; raises Missing.

    `check` has passed once by then. At the end of the block all of its processes are killed,
    including those in other process groups: they inherit an environment variable that identifies
    them.
    """
    server = Running(_free_port(), uuid.uuid4().hex)
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        words: dict[str, object] = {"python": python, "port": server.port, "model": model}
        words |= {"folder": folder, "cores": len(os.sched_getaffinity(0))}
        words |= {"name": model.stem, "models": model.parent}
        with (folder / "output.log").open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # our own table of commands
                [word.format_map(words) for word in contestant.command],
                cwd=ROOT,
                env=_environment(contestant, words, server.mark),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must reach the parent only; it stops the server
            )
        try:
            log = folder / "output.log"
            _wait_until_right(process, log, lambda: check(contestant, server.port), ready_within)
            yield server
        finally:
            server.resume()  # or it would not react to the signal
            _stop(process, contestant.stop_signal, server.mark)


def ask(contestant: Contestant, port: int, within: float = ANSWER_WITHIN) -> float:
    """Send a request and return the prediction; raises OSError, HTTPException or Missing."""

    def prediction(body: bytes, _: dict[str, str]) -> float:
        return float(_dig(json.loads(body), contestant.answer_at))

    headers = {"Content-Type": "application/json"}
    return post(port, contestant.path, contestant.body, headers, prediction, within)


def post(
    port: int,
    path: str,
    body: str | bytes,
    headers: Mapping[str, str],
    read: Callable[[bytes, dict[str, str]], T],
    within: float,
) -> T:
    """Send a request; return what `read` makes of the answer's body and headers.

    Raises OSError or HTTPException if the server is not ready, and Missing if it answers otherwise.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=within)
    with contextlib.closing(connection):
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        found = answer.read()
    text = found.decode(errors="replace")[:200]
    if answer.status in (404, 502, 503):  # listening, but not ready
        raise ConnectionError(f"{answer.status}: {text}")
    if answer.status != 200:
        raise Missing(f"answered {answer.status}: {text}")
    try:
        return read(found, dict(answer.getheaders()))
    except (ValueError, TypeError, LookupError) as error:
        raise Missing(f"unreadable answer: {text}") from error


def _dig(value: Any, path: Sequence[str | int]) -> Any:
    for key in path:
        value = value[key]
    return value


def _wait_until_right(
    process: subprocess.Popen[bytes], log: Path, check: Callable[[], None], within: float
) -> None:
    give_up = time.monotonic() + within
    while True:
        try:
            return check()
        except (OSError, http.client.HTTPException) as error:
            if process.poll() is not None:
                why = f"exited with code {process.returncode}: {_last_lines(log)}"
                raise Missing(why) from error
            if time.monotonic() > give_up:
                why = f"no answer within {within:g} s ({error}): {_last_lines(log)}"
                raise Missing(why) from error
        time.sleep(0.1)


def _last_lines(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return " / ".join(list(filter(None, lines))[-3:])[-400:] or "no output"


def _environment(contestant: Contestant, words: dict[str, object], mark: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("SERVER_")}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "MODEL": str(words["model"]),
        **{name: value.format_map(words) for name, value in contestant.environment.items()},
        MARK: mark,
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _stop(process: subprocess.Popen[bytes], stop_signal: signal.Signals, mark: str) -> None:
    """Send `stop_signal`, then kill what is left; Ctrl-C is blocked meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_WITHIN)
        while left := list(marked(mark)):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        process.wait()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def marked(mark: str) -> Iterator[int]:
    """Yield the processes with this mark in their environment; works on Linux only."""
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):  # it has exited, or belongs to another user
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)
