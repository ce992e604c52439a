"""How a process is started, and why it has ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
KERAS_HOME: Final = ROOT / "model" / "process" / "keras_home"
IMPORTS_FOLDER: Final = "MODEL_IMPORTS_FOLDER"  # `model.formats.imports` reads it
COMMAND: Final = (sys.executable, "-P", "-m", "model.process")


class Ended(NamedTuple):
    """Why a process has ended.

    Attributes:
        reason: for metrics: `crash`, `killed`, `hang`, `load_timeout`, `load_failed` or `closed`.
        text: for logs and responses.
    """

    reason: str
    text: str


def start(
    command: Sequence[str], connection: socket.socket, output: int
) -> subprocess.Popen[bytes]:
    """Start a process; the kernel kills it when the calling thread ends. Raises OSError.

    Signals are blocked in the new process until it ignores them. Ctrl-C, and a service manager that
    signals all processes, then only reach the main process, which ends the model process.
    """
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        return subprocess.Popen(  # noqa: S603  # our own program
            [*command, str(connection.fileno()), str(os.getpid())],
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[connection.fileno()],
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return a model process's environment: without our settings, and with Keras' own defaults.

    The modules of `model.imports` may lie in the current folder, unless Python was started with
    `-P`, and then does not look there either.

    Keras reads `keras.json` from `KERAS_HOME`; the user's own file could change predictions.
    """
    kept = {name: value for name, value in given.items() if not name.startswith("SERVER_")}
    paths = [str(ROOT), *filter(None, [given.get("PYTHONPATH")])]
    ours = {
        IMPORTS_FOLDER: _folder(),
        "KERAS_HOME": str(KERAS_HOME),
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }
    return kept | ours


def _folder() -> str:
    try:
        return "" if sys.flags.safe_path else str(Path.cwd())
    except FileNotFoundError:  # it has been removed
        return ""


def why_ended(code: int, step: str, what: str) -> Ended:
    """Return why a process ended, by its exit code (if negative, a signal) and its last step."""
    when = f" while {step}" if step else ""
    if code == -signal.SIGKILL:
        text = f"the {what} was killed{when}, as the kernel does when memory runs out"
        return Ended("killed", text)
    if code < 0:
        return Ended("crash", f"the {what} was ended by {signal_name(-code)}{when}")
    return Ended("crash", f"the {what} ended with exit code {code}{when}")


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
