"""The wall clock may be set at any time, so it is used for timestamps only, never for durations."""

from __future__ import annotations

import ast
import asyncio
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.harness import FakeModel, over_http, predict_bytes, serving, with_settings

CHECKOUT = Path(__file__).parents[1]
A_DAY = 24 * 60 * 60

# Functions that read the wall clock, and for which timestamp.
STAMPS = {
    "server/serving/counts.py: ran",  # the last inference, in the statistics of the protocol
    "server/monitoring/live_page.py: snapshot",  # time of a snapshot
    "server/transport/llhttp/server.py: of",  # the header Date
    "server/serving/leftovers.py: leftovers",  # how old a folder is
    "server/serving/engine_cache.py: new_entry",  # as above
    "server/loadtest/sweep_result.py: make_result",  # time of a sweep
    "server/logs/access.py: write",  # time of a log line
    "server/logs/payload.py: write",  # time of a log line
    "server/serving/served_model.py: ServedModel",  # when the model was loaded
}
WALL_CLOCKS = {
    ("time", "time"), ("time", "time_ns"), ("time", "localtime"),
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"),
}  # fmt: skip


def wall_clocks(path: Path) -> Iterator[str]:
    """Yield file and function of each place that reads the wall clock."""
    file = path.relative_to(CHECKOUT).as_posix()

    def visit(node: ast.AST, name: str) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        if reads_wall_clock(node):
            yield f"{file}: {name}"
        for child in ast.iter_child_nodes(node):
            yield from visit(child, name)

    yield from visit(ast.parse(path.read_text(), file), "")


def reads_wall_clock(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom) and node.module == "time":
        return any(("time", alias.name) in WALL_CLOCKS for alias in node.names)
    if not isinstance(node, ast.Attribute):
        return False
    if node.attr == "request_time":  # Tornado computes it from time.time()
        return True
    return isinstance(node.value, ast.Name) and (node.value.id, node.attr) in WALL_CLOCKS


def test_the_wall_clock_is_read_only_for_timestamps() -> None:
    """Durations, deadlines and waits use `loop.time()`, `perf_counter` or `monotonic`."""
    files = [path for layer in ("model", "server") for path in (CHECKOUT / layer).rglob("*.py")]
    assert {place for path in files for place in wall_clocks(path)} == STAMPS


@pytest.mark.parametrize(
    "code",
    ["time.time()", "from time import time", "datetime.now(UTC)", "self.request.request_time()"],
)
def test_the_check_finds_wall_clocks(code: str) -> None:
    assert any(reads_wall_clock(node) for node in ast.walk(ast.parse(code)))


class WallClock:
    """A wall clock that the test can set."""

    def __init__(self) -> None:
        self._real = time.time
        self._days = itertools.cycle([A_DAY, -A_DAY])
        self._ahead = 0

    def set(self) -> None:
        """Set the clock a day ahead, then a day back, in turn."""
        self._ahead = next(self._days)

    def __call__(self) -> float:
        return self._real() + self._ahead


@over_http
async def test_setting_the_wall_clock_changes_no_duration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Deadlines, waits and limits stay the same, and so do the reported times."""
    clock = WallClock()
    monkeypatch.setattr(time, "time", clock)
    model = FakeModel()
    model.seconds = 0.01
    settings = with_settings(batching={"max_wait_ms": 5}, http={"idle_timeout_s": 5})
    async with serving(model, settings) as server:
        client = await server.connect()  # keep-alive, so all time limits of a client apply
        for n in range(20):
            await client.send(predict_bytes([n]))
            await model.called(n + 1)
            clock.set()
            answer = await client.receive()
            assert (answer.status, answer.json) == (200, {"prediction": 3.0 * n + 1})
            assert all(0 < ms < 5000 for ms in timings(answer["Server-Timing"]))
            clock.set()
        model.hold()
        began = asyncio.get_running_loop().time()
        await client.send(predict_bytes([1], {"X-Request-Timeout-Ms": "300"}))
        await model.called(21)
        clock.set()
        late = await client.receive()
        took = asyncio.get_running_loop().time() - began
        clock.set()
        model.release()
        metrics = (await client.ask("GET", "/metrics")).body.decode()
        await server.logs.access("GET /metrics")

        assert late.status == 504
        assert 0.3 <= took < 5
        for name in ("request_duration", "model_duration"):
            [total] = re.findall(rf"^predict_{name}_seconds_sum (\S+)$", metrics, re.MULTILINE)
            assert 0.2 < float(total) < 10, name
        logged = [
            float(ms) for line in server.logs.accesses for ms in re.findall(r"(\S+) ms", line)
        ]
        assert len(logged) == 22
        assert all(0 <= ms < 5000 for ms in logged), server.logs.accesses


def timings(header: str) -> list[float]:
    return [float(ms) for ms in re.findall(r"dur=(\S+?)(?:,|$)", header)]
