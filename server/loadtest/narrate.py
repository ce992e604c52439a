"""Prints the progress of a sweep: a line for each step."""

from __future__ import annotations

import sys
from typing import TextIO

from server.loadtest.report.charts import compact
from server.loadtest.step import Step

HEAD = f"{'offered':>9}{'achieved':>10}{'in time':>9}{'p50':>8}{'p99 ms':>9}{'503':>7}{'lost':>8}"


class Narrator:
    """Writes to `file`, by default standard error; on a terminal also the step in progress."""

    def __init__(self, file: TextIO | None = None, indent: str = "") -> None:
        self._file = file or sys.stderr
        self._indent = indent
        self._is_first = True

    def begins(self, rate: float) -> None:
        if self._is_first:
            print(self._indent + HEAD, file=self._file)
            self._is_first = False
        if self._file.isatty():
            print(f"{self._indent}{rate:>7,g}/s …", end="\r", flush=True, file=self._file)

    def ended(self, step: Step) -> None:
        latency = step["latency_ms"]
        words = "" if step["met"] else f"  missed, limit: {step['limit']}"
        print(
            f"{self._indent}{step['rate']:>7,g}/s{step['goodput']:>8,.0f}/s{step['in_time']:>9.2%}"
            f"{_shown(latency.get('p50')):>8}{_shown(latency.get('p99')):>9}"
            f"{step['statuses'].get('503', 0):>7,}{step['lost'] + step['unsent']:>8,}{words}",
            flush=True,
            file=self._file,
        )


def _shown(value: float | None) -> str:
    return "–" if value is None else compact(value)
