"""A long load test at half of the capacity: memory, file descriptors and tasks do not grow."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from statistics import linear_regression
from typing import NamedTuple

import pytest

from tests.process.conftest import Start, StartLoad
from tests.process.harness import REAL, LoadTest, Server, memory_of, wait_until

pytestmark = [pytest.mark.process, pytest.mark.keras]

MIB = 2**20
SLOPE = 1 * MIB / 100_000  # at most, in bytes per request
NOISE = 3 * MIB  # variation of the allocator, which in 20 s looks like growth
CONNECTIONS = 64


class Sample(NamedTuple):
    """What a server takes after so many requests; its memory with that of the model process."""

    requests: int
    rss: int
    files: int
    tasks: int


def sample(server: Server) -> Sample:
    """Return the current resources of a server."""
    return Sample(
        int(server.metric("predict_request_duration_seconds_count")),
        int(server.metric("process_resident_memory_bytes")) + memory_of(server.model_pid),
        len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())),
        int(server.metric("event_loop_tasks")),
    )


def warm(server: Server, start_load: StartLoad) -> float:
    """Run a closed loop, so that caches and pools are filled; return its goodput."""
    load = start_load(server, "--connections", str(CONNECTIONS), "--duration", "10")
    return float(load.figures()["goodput"])


def watch(server: Server, load: LoadTest, every: float) -> list[Sample]:
    """Return samples, taken until the load test ends."""
    samples = [sample(server)]
    while load.is_running():
        time.sleep(every)
        samples.append(sample(server))
    return samples


@pytest.mark.parametrize(
    "seconds, transport",
    [
        pytest.param(20, "llhttp", marks=pytest.mark.torture),
        pytest.param(20, "tornado", marks=pytest.mark.torture),
        pytest.param(600, "llhttp", marks=[pytest.mark.torture_full, pytest.mark.timeout(900)]),
    ],
)
def test_memory_files_and_tasks_stay_constant_at_half_capacity(
    start: Start, start_load: StartLoad, example_model: Path, seconds: int, transport: str
) -> None:
    server = start(
        str(example_model), "--http.transport", transport, command=REAL, stdout=subprocess.DEVNULL
    )
    rate = warm(server, start_load) / 2
    idle = until_quiet(server)
    load = start_load(
        server, "--rate", f"{rate:g}", "--duration", str(seconds),
        "--connections", str(CONNECTIONS),
    )  # fmt: skip
    samples = watch(server, load, every=seconds / 60)
    figures = load.figures()
    end = until_quiet(server)
    tell(rate, idle, samples, end)

    assert figures["lost"] == 0
    assert figures["statuses"].keys() <= {"200", "503"}  # other processes may slow the machine down
    assert growth(samples) <= SLOPE * requests(samples) + (NOISE if seconds < 60 else 0)
    assert max(each.files for each in samples) <= idle.files + CONNECTIONS + 2
    assert (
        max(each.tasks for each in samples) <= idle.tasks + 3 * CONNECTIONS + 2
    )  # Tornado has three
    assert end.files <= idle.files + 2  # the test's own last connections may not be closed yet
    assert end.tasks <= idle.tasks


def until_quiet(server: Server) -> Sample:
    """Wait until files and tasks are constant; return the last sample."""
    samples = [sample(server)]

    def is_steady() -> bool:
        time.sleep(0.3)
        samples.append(sample(server))
        return samples[-1][2:] == samples[-2][2:]

    wait_until(is_steady, what="as many files and tasks as before")
    return samples[-1]


def requests(samples: list[Sample]) -> int:
    return samples[-1].requests - samples[0].requests


def growth(samples: list[Sample]) -> float:
    """Return the growth of memory in bytes, by linear regression."""
    slope, _ = linear_regression([s.requests for s in samples], [s.rss for s in samples])
    return slope * requests(samples)


def tell(rate: float, idle: Sample, samples: list[Sample], end: Sample) -> None:
    """Print the figures for docs/reliability.md."""
    count = requests(samples)
    per = growth(samples) / MIB * 100_000 / count
    rss = [each.rss / MIB for each in samples]
    print(
        f"{count:,} requests at {rate:.0f}/s: {per:+.2f} MiB in 100,000 requests, RSS "
        f"{rss[0]:.1f} to {rss[-1]:.1f} MiB (between {min(rss):.1f} and {max(rss):.1f}); "
        f"descriptors {idle.files} before, at most {max(s.files for s in samples)}, "
        f"{end.files} after; tasks {idle.tasks}, at most {max(s.tasks for s in samples)}, "
        f"{end.tasks}"
    )
