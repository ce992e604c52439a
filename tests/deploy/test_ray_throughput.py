"""The rows of `deploy.ray.throughput`, and the CPU time of idle sides."""

from __future__ import annotations

import os
import subprocess

from deploy.ray.processes import CpuMeter, family
from deploy.ray.results import Run, table
from scripts.comparison.wrk import Measurement
from tests.process.harness import wait_until


def run(rate: float, p50_ms: float = 1.0, failed: tuple[int, int] = (0, 0), idle: float = 0) -> Run:
    return Run(Measurement(rate, p50_ms, 9.0, 1000, *failed), idle)


def test_a_row_has_medians_and_the_ratio_of_the_median_round():
    one = [run(100), run(1000), run(200)]
    other = [run(50, 4.0), run(100, 2.0), run(160, 3.0)]

    first, second = table({"one server": one, "another": other})

    assert (first["requests per second"], first["to one server"]) == (200, 1.0)
    assert (second["requests per second"], second["to one server"]) == (100, 0.5)
    assert (second["side"], second["p50 ms"], second["p99 ms"]) == ("another", 3.0, 9.0)


def test_a_row_has_all_failures_and_the_busiest_idle_side():
    (row,) = table({"one server": [run(9, failed=(2, 1)), run(9, failed=(0, 3), idle=0.5)]})

    assert (row["failed"], row["cores of idle sides"]) == (6, 0.5)


def test_a_family_has_grandchildren_and_their_cpu_time_counts():
    with subprocess.Popen(["sh", "-c", "sh -c 'while :; do :; done' & wait"]) as parent:
        try:
            wait_until(lambda: len(family([parent.pid])) == 2)
            (grandchild,) = family([parent.pid]) - {parent.pid}
            assert grandchild in family([os.getpid()])
            busy, idle = CpuMeter([grandchild]), CpuMeter([parent.pid])
            wait_until(lambda: busy.cores() > 0)
            assert idle.cores() < busy.cores()
        finally:
            for pid in family([parent.pid]):
                os.kill(pid, 9)


def test_a_process_that_has_ended_uses_no_cpu():
    with subprocess.Popen(["sleep", "60"]) as child:
        meter = CpuMeter([child.pid])
        child.kill()

    assert meter.cores() == 0
