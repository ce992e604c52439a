"""The result of a sweep: figures, settings, server and machine; written to and read from JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from server.loadtest.step import Step
from server.loadtest.sweep import Plan

KIND, FORMAT = "sweep", 1
PARTS = {"name", "made", "command", "url", "objective", "settings", "server", "machine"}
NUMBERS = {"knee", "ended_by", "steps"}

SweepResult = dict[str, Any]


class NotASweep(Exception):
    """The file does not hold the result of a sweep; the message is one line."""


def make_result(
    name: str,
    url: str,
    plan: Plan,
    command: str,
    server: dict[str, str],
    machine: dict[str, str],
    figures: dict[str, Any],
) -> SweepResult:
    """Return the figures of a sweep together with its settings, server and machine."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "name": name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "url": url,
        "objective": {
            "p99_ms": plan.objective.seconds * 1000,
            "share": plan.objective.share,
            "sentence": str(plan.objective),
        },
        "settings": _settings(plan),
        "server": server,
        "machine": machine,
        **figures,
    }


def _settings(plan: Plan) -> dict[str, str]:
    return {
        "objective": str(plan.objective),
        "step": f"{plan.step_seconds:g} s",
        "arrivals": f"{plan.arrivals}, latency from the intended send time",
        "rows per request": f"{plan.rows:,}",
        "connections": f"at most {plan.connections:,}",
        "timeout": f"{plan.timeout:g} s",
        "rates": f"from {plan.rates.start:g}/s, at most {plan.rates.most:g}/s",
    }


def write_result(result: SweepResult, path: Path) -> None:
    """Write a result as JSON; raises OSError."""
    path.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")


def check_writable(path: Path) -> None:
    """Check before a long measurement that a file can be written; raises OSError."""
    existed = path.exists()
    path.open("a").close()
    if not existed:
        path.unlink()


def read_result(path: Path) -> SweepResult:
    """Read a file of `write_result`; raises NotASweep."""
    try:
        result = orjson.loads(path.read_bytes())
    except OSError as error:
        raise NotASweep(f"{path}: cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise NotASweep(f"{path}: not JSON: {error}") from error
    if not isinstance(result, dict) or result.get("kind") != KIND:
        raise NotASweep(f"{path}: not the result of a sweep")
    if result.get("format") != FORMAT or not result.keys() >= PARTS | NUMBERS:
        raise NotASweep(f"{path}: written by another version of this load test")
    return result


def steps_by_rate(result: SweepResult) -> list[Step]:
    """Return the steps sorted by rate; of a rate that was tried twice, only the second step."""
    by_rate = {step["rate"]: step for step in result["steps"]}
    return [by_rate[rate] for rate in sorted(by_rate)]


def knee_step(result: SweepResult) -> Step | None:
    """Return the step at the knee, or None if no rate met the objective."""
    number = result["knee"]["step"]
    return None if number is None else result["steps"][number]
