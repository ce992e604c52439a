"""Runs wrk and parses its output."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.comparison.venvs import Missing

NOT_INSTALLED = "wrk is not installed: apt-get install wrk"
SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT = 60  # seconds; longer than a run, so that wrk does not count slow answers as errors
SPARE = 60.0  # seconds that wrk may run longer than asked for


@dataclass(frozen=True)
class Measurement:
    """One run of wrk. Latencies are those of all answers that arrived during it, good or not."""

    rate: float  # good answers per second
    p50_ms: float | None  # None without answers
    p99_ms: float | None
    requests: int  # answered, with any status
    rejected: int  # of them, with a status of 400 or above
    socket_errors: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def version() -> str:
    """Return the version of the installed wrk."""
    done = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)  # noqa: S607  # wrk is found on the user's PATH
    found = re.search(r"wrk (\S+)", done.stdout)
    return found[1] if found else "unknown"


def measure(
    url: str,
    body: str | bytes | Sequence[bytes],
    connections: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
) -> Measurement:
    """POST `body` over `connections` connections, each with one request in flight.

    Several bodies, each without line ends, are sent in turn. Raises Missing if wrk fails.
    """
    lines = not isinstance(body, str | bytes)
    content = body.encode() if isinstance(body, str) else body
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", f"--timeout={TIMEOUT}s"]
    # A file, because a body may be too long for an argument.
    with tempfile.NamedTemporaryFile(suffix=".lines" if lines else "") as file:
        file.write(content if isinstance(content, bytes) else b"\n".join(content))
        file.flush()
        command += ["--latency", "-s", str(SCRIPT), url, "--", file.name]
        command += [part for header in (headers or {}).items() for part in header]
        try:
            done = subprocess.run(  # noqa: S603  # wrk is found on the user's PATH
                command, capture_output=True, text=True, timeout=seconds + SPARE, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Missing(f"wrk did not exit within {seconds + SPARE:g} s") from error
    if done.returncode:
        raise Missing(f"wrk failed: {(done.stderr or done.stdout).strip()[-200:]}")
    return parse(done.stdout)


def parse(output: str) -> Measurement:
    """Parse the line of JSON that post.lua prints at the end; raises ValueError."""
    raw = json.loads(output.rstrip().rpartition("\n")[2])
    answered = raw["requests"] > 0
    return Measurement(
        rate=(raw["requests"] - raw["status"]) / raw["microseconds"] * 1e6,
        p50_ms=raw["p50"] / 1e3 if answered else None,
        p99_ms=raw["p99"] / 1e3 if answered else None,
        requests=raw["requests"],
        rejected=raw["status"],
        socket_errors=sum(raw[kind] for kind in ("connect", "read", "write", "timeout")),
    )
