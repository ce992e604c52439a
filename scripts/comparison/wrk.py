"""Runs wrk, and reads what it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.comparison.venvs import Missing

NOT_INSTALLED = "wrk is not installed: apt-get install wrk"
SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT = 60  # seconds till wrk calls an answer late; longer than a run, so that slow is not wrong
SPARE = 60.0  # seconds that a run may take beyond its own


@dataclass(frozen=True)
class Measurement:
    """One run of wrk. Latencies are those of all answers that came within it, good or not."""

    rate: float  # good answers a second
    p50_ms: float | None  # none without an answer
    p99_ms: float | None
    requests: int  # answered, good or not
    refused: int  # of them, with a status of 400 or above
    socket_errors: int

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON takes them."""
        return asdict(self)


def is_installed() -> bool:
    """Tell whether there is a wrk to run."""
    return shutil.which("wrk") is not None


def version() -> str:
    """Return the version of the wrk that is installed."""
    done = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)  # noqa: S607  # wrk is found where the user has it
    found = re.search(r"wrk (\S+)", done.stdout)
    return found[1] if found else "unknown"


def measure(
    url: str,
    body: str | bytes,
    connections: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
) -> Measurement:
    """Post `body` over so many connections at once, each with one request on its way.

    Raises Missing when wrk cannot work with the server.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", f"--timeout={TIMEOUT}s"]
    with tempfile.NamedTemporaryFile() as file:  # an argument could not be as long
        file.write(body.encode() if isinstance(body, str) else body)
        file.flush()
        command += ["--latency", "-s", str(SCRIPT), url, "--", file.name]
        command += [part for header in (headers or {}).items() for part in header]
        try:
            done = subprocess.run(  # noqa: S603  # wrk is found where the user has it
                command, capture_output=True, text=True, timeout=seconds + SPARE, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Missing(f"wrk did not end within {seconds + SPARE:g} s") from error
    if done.returncode:
        raise Missing(f"wrk failed: {(done.stderr or done.stdout).strip()[-200:]}")
    return parse(done.stdout)


def parse(output: str) -> Measurement:
    """Read the line of JSON with which post.lua ends what wrk prints; raises ValueError."""
    raw = json.loads(output.rstrip().rpartition("\n")[2])
    answered = raw["requests"] > 0
    return Measurement(
        rate=(raw["requests"] - raw["status"]) / raw["microseconds"] * 1e6,
        p50_ms=raw["p50"] / 1e3 if answered else None,
        p99_ms=raw["p99"] / 1e3 if answered else None,
        requests=raw["requests"],
        refused=raw["status"],
        socket_errors=sum(raw[kind] for kind in ("connect", "read", "write", "timeout")),
    )
