"""Overload: more requests than the model can answer. Accepted requests are answered in time."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import Start, StartLoad
from tests.process.harness import REAL, LoadTest, Server, cpu_seconds

pytestmark = pytest.mark.process

DEADLINE_S = 10.0
LIMITS = (
    *("--batching.deadline_ms", f"{DEADLINE_S * 1000:g}", "--logging.payloads", "false"),
    *("--batching.max_queue_ms", "1000"),  # the default; other tests have more
)
# A call of 16 rows takes 85 ms, or 188 rows per second, and uses no CPU.
SLOW = {"FAKE_SECONDS": "0.005", "FAKE_ROW_SECONDS": "0.005", "SERVER_BATCHING__MAX_ROWS": "16"}
SLOW_CAPACITY = 16 / 0.085
OPEN = ("--connections", "1000", "--expect", "200,503", "--timeout", "30")


def overload(server: Server, start_load: StartLoad, rate: float, seconds: float) -> dict[str, Any]:
    """Send `rate` requests per second in an open loop; return the figures."""
    before = counted(server)
    load = start_load(server, *OPEN, "--rate", f"{rate:g}", "--duration", f"{seconds:g}")
    on_the_last_core(load)
    figures = figures_of(load, server, seconds)
    tell(figures)
    figures["counted"] = {name: n - before[name] for name, n in counted(server).items()}
    return figures


def figures_of(load: LoadTest, server: Server, seconds: float) -> dict[str, Any]:
    """Return what a load saw, and what event loop and model process took of a core."""
    model = server.model_pid
    before = loop_seconds(server), cpu_seconds(model)
    figures = load.figures(within=seconds + 60)
    after = loop_seconds(server), cpu_seconds(model)
    loop_cpu, model_cpu = ((b - a) / seconds for a, b in zip(before, after, strict=True))
    return {**figures, "loop_cpu": loop_cpu, "model_cpu": model_cpu}


def tell(figures: dict[str, Any]) -> None:
    """Print the figures for docs/reliability.md."""
    good, refused = (figures["latency_ms"][status] for status in ("200", "503"))
    print(
        f"goodput {figures['goodput']:.0f}/s, of a core the event loop {figures['loop_cpu']:.3f} "
        f"and the model {figures['model_cpu']:.3f}, "
        f"{figures['statuses']}, 200: p50 {good['p50']:.0f} max {good['max']:.0f} ms, "
        f"503: p50 {refused['p50']:.1f} p99 {refused['p99']:.1f} ms"
    )


def loop_seconds(server: Server) -> float:
    """Return the processor time of the event loop: a process's first thread has its number."""
    return cpu_seconds(server.process.pid, server.process.pid)


def counted(server: Server) -> Counter[str]:
    """Return the server's own counts: answers by status, and rejections."""
    text = server.get("/metrics").body.decode()
    answers = re.findall(r'^predict_requests_total{.*status="(\d+)"} (\S+)$', text, re.MULTILINE)
    refusals = re.findall(r"^predict_refused_total{.*} (\S+)$", text, re.MULTILINE)
    return Counter(
        {status: int(float(n)) for status, n in answers}
        | {"refused": sum(int(float(n)) for n in refusals)}
    )


def assert_sums_match(figures: dict[str, Any]) -> None:
    """Check that every request has one answer, and that the server counted the same."""
    statuses = figures["statuses"]
    assert figures["lost"] == figures["unsent"] == 0, figures
    assert statuses.keys() == {"200", "503"}
    assert sum(statuses.values()) == figures["sent"]
    assert {n: c for n, c in figures["counted"].items() if c} == {
        **statuses,
        "refused": statuses["503"],
    }


def assert_deadlines_are_kept(figures: dict[str, Any]) -> None:
    assert figures["latency_ms"]["200"]["max"] < DEADLINE_S * 1000


def assert_retry_after_is_right(server: Server, start_load: StartLoad, rate: float) -> None:
    """Check that the last rejected client is accepted after waiting for Retry-After."""
    load = start_load(server, *OPEN, "--rate", f"{rate:g}", "--duration", "3")
    on_the_last_core(load)
    row = [1] * inputs(server)
    asked = []
    while load.is_running():  # without waiting for answers: they arrive after the overload
        asked.append((time.monotonic(), server.send(row)))
        time.sleep(0.05)
    answers = [(when, client.answer()) for when, client in asked]
    refusals = [(when, answer) for when, answer in answers if answer.status == 503]
    assert refusals, Counter(answer.status for _, answer in answers)
    when, last = refusals[-1]
    wait = int(last.headers["Retry-After"])
    assert 1 <= wait <= 10  # it may be more than 2 if the machine became slower
    time.sleep(max(0.0, when + wait - time.monotonic()))
    assert server.post(row).status == 200


def assert_latency_is_back(server: Server) -> None:
    """Check that the queueing time is short one second after the overload."""
    time.sleep(1)
    waits = []
    for _ in range(5):
        answer = server.post([1] * inputs(server))
        assert answer.status == 200
        waits.append(float(re.findall(r"queue;dur=([\d.]+)", answer.headers["Server-Timing"])[0]))
    assert min(waits) < 20, waits  # ms; a batch takes longer


def inputs(server: Server) -> int:
    """Return the number of values in a row."""
    shape = server.get("/v2/models/served").json["inputs"][0]["shape"]
    return int(shape[-1])


def on_the_last_core(load: LoadTest) -> None:
    """Run the load test on the last core, so that it disturbs the model as little as possible."""
    os.sched_setaffinity(load.process.pid, {max(os.sched_getaffinity(0))})


@pytest.mark.torture
def test_at_five_times_the_capacity_requests_are_rejected_or_answered_in_time(
    start: Start, start_load: StartLoad
) -> None:
    server = start(*LIMITS, "--model.name", "served", environ=SLOW)
    figures = overload(server, start_load, 5 * SLOW_CAPACITY, 3)

    assert_sums_match(figures)
    assert_deadlines_are_kept(figures)
    assert_retry_after_is_right(server, start_load, 5 * SLOW_CAPACITY)
    assert_latency_is_back(server)


@pytest.mark.torture
@pytest.mark.keras
@pytest.mark.timeout(900)
def test_goodput_stays_at_two_five_and_ten_times_the_capacity(
    start: Start, start_load: StartLoad, tmp_path: Path
) -> None:
    """With a real, expensive network, for 60 s each."""
    heavy_network(tmp_path / "heavy.keras")
    # One core for the server with its model, and one for the clients.
    server = start(
        str(tmp_path / "heavy.keras"), *LIMITS, "--model.name", "served", command=REAL,
        environ={"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"},
        shell="taskset -cp 0 $$ >/dev/null",
    )  # fmt: skip
    for times in (2, 5, 10):
        before = capacity(server, start_load)
        figures = overload(server, start_load, times * before["goodput"], 60)
        after = capacity(server, start_load)
        rates = [each["goodput"] for each in (before, after)]
        print(f"{times} times the capacity of {rates[0]:.1f}/s; afterwards it is {rates[1]:.1f}/s")

        assert_sums_match(figures)
        assert_deadlines_are_kept(figures)
        assert_retry_after_is_right(server, start_load, times * rates[0])
        assert_latency_is_back(server)
        # The speed of the machine, and so goodput, may change by a third within these minutes. The
        # CPU share of the model's thread must not.
        assert figures["model_cpu"] >= 0.9 * min(before["model_cpu"], after["model_cpu"])
        assert figures["goodput"] >= 0.6 * min(rates)


def capacity(server: Server, start_load: StartLoad) -> dict[str, Any]:
    """Return the goodput of a closed loop with so few clients that none is rejected."""
    load = start_load(server, "--connections", "16", "--duration", "10", "--expect", "200,503")
    on_the_last_core(load)
    return figures_of(load, server, 10)


def heavy_network(path: Path) -> None:
    """Save a network that computes about fifty rows per second on one core."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    keras.Sequential(
        [
            keras.Input((64,)),
            layers.Reshape((8, 8, 1)),
            layers.UpSampling2D(8),
            *(layers.Conv2D(64, 3, padding="same", activation="relu") for _ in range(8)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1),
        ]
    ).save(path)
