"""Starts the service as a child process, and reads its CPU time, memory and metrics."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.comparison.venvs import ROOT

READY_WITHIN = 120.0
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Server:
    """A running service."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """The URL for predictions."""
        return f"http://127.0.0.1:{self.port}/predict"

    def cpu_seconds(self) -> float:
        """Return the CPU time that all its processes have used so far."""
        return sum(cpu_seconds(pid) for pid in self.pids())

    def rss(self) -> int:
        """Return the resident memory of all its processes in bytes."""
        return sum(resident(pid) for pid in self.pids())

    def pids(self) -> list[int]:
        """Return the main process and its model processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]

    def about(self, model: str) -> Any:
        """Return the metadata of a model."""
        url = f"http://127.0.0.1:{self.port}/v2/models/{model}"
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)

    def metric(self, name: str) -> float:
        """Return the current value of a metric with a single time series."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = answer.read().decode()
        return value_of(name, text)


def value_of(name: str, text: str) -> float:
    """Return the value of a metric from the Prometheus text format; raises LookupError."""
    found = re.search(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    if not found:
        raise LookupError(name)
    return float(found[1])


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that all threads of a process have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


@contextlib.contextmanager
def serving(
    model: Path | None, *flags: str, folder: Path = ROOT, core: str | None = None
) -> Iterator[Server]:
    """Serve a model, or those of the settings, during the block; the payload log goes to a file.

    `folder` has the code; `core` is the only one that the service may use.
    """
    with tempfile.TemporaryDirectory(prefix="measure-") as logs:
        port = _free_port()
        command = [] if core is None else ["taskset", "-c", core]
        command += [sys.executable, "-m", "server", *([str(model.resolve())] if model else [])]
        command += ["--http.port", str(port)]
        command += ["--logging.file", f"{logs}/payloads.jsonl", *flags]
        process = subprocess.Popen(  # noqa: S603  # this project's own server
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_until_ready(process, port)
            yield Server(process.pid, port)
        finally:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    give_up = time.monotonic() + READY_WITHIN
    while process.poll() is None and time.monotonic() < give_up:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready").close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"the service was not ready within {READY_WITHIN:g} s")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
