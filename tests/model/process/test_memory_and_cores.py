"""Memory and cores that are left, by made-up folders of the kernel."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from model.process.cores import usable_cores, use_cores, use_one_core
from model.process.memory import UNKNOWN, Memory

MIB = 2**20
V1_NO_LIMIT = 9223372036854771712


class Kernel:
    """A folder for `/proc`, and one for control groups."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.cgroup = folder / "cgroup"
        self.write("proc", {"meminfo": "MemTotal:  9999 kB\nMemAvailable:  4096000 kB\n"})

    def write(self, root: str, files: Mapping[str, object]) -> None:
        for name, text in files.items():
            path = self.proc.parent / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    def groups(self, *lines: str) -> None:
        """Say what groups the process is in."""
        self.write("proc", {"self/cgroup": "\n".join(lines)})

    @property
    def memory(self) -> Memory:
        return Memory(self.proc, self.cgroup)

    @property
    def cores(self) -> int:
        return usable_cores(self.proc, self.cgroup)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def v1_memory(group: str, limit: int, used: int, cache: int) -> dict[str, object]:
    return {
        f"memory/{group}memory.limit_in_bytes": limit,
        f"memory/{group}memory.usage_in_bytes": used,
        f"memory/{group}memory.stat": f"cache 1\ntotal_inactive_file {cache}\ninactive_file 7",
    }


def v2_memory(group: str, limit: object, used: int, cache: int) -> dict[str, object]:
    return {
        f"{group}memory.max": limit,
        f"{group}memory.current": used,
        f"{group}memory.stat": f"anon 1\nactive_file 9\ninactive_file {cache}\nslab 2",
    }


# Memory


def test_the_machine_counts_where_nothing_limits(kernel: Kernel) -> None:
    kernel.groups("0::/")

    assert kernel.memory.available() == 4000 * MIB


def test_a_limit_of_version_2_counts(kernel: Kernel) -> None:
    """What the kernel would give up of its cache is free."""
    kernel.groups("0::/")
    kernel.write("cgroup", v2_memory("", 1000 * MIB, 700 * MIB, 100 * MIB))

    assert kernel.memory.available() == 400 * MIB


def test_a_limit_of_version_1_counts(kernel: Kernel) -> None:
    kernel.groups("3:cpuset:/a", "2:cpu,memory:/a/b", "1:name=systemd:/a")
    kernel.write("cgroup", v1_memory("a/b/", 500 * MIB, 300 * MIB, 50 * MIB))

    assert kernel.memory.available() == 250 * MIB


@pytest.mark.parametrize(
    "inner, outer, left", [(1000, 600, 500), (300, 600, 200), ("max", 600, 500)]
)
def test_the_smallest_limit_above_counts(
    kernel: Kernel, inner: object, outer: int, left: int
) -> None:
    kernel.groups("0::/slice/service")
    limit = inner * MIB if isinstance(inner, int) else inner
    kernel.write("cgroup", v2_memory("slice/service/", limit, 100 * MIB, 0))
    kernel.write("cgroup", v2_memory("slice/", outer * MIB, 100 * MIB, 0))

    assert kernel.memory.available() == left * MIB


def test_in_a_container_the_root_is_its_own_group(kernel: Kernel) -> None:
    """The path may be the one that the host knows."""
    kernel.groups("4:memory:/docker/abc", "0::/../../elsewhere")
    kernel.write("cgroup", v1_memory("", 500 * MIB, 100 * MIB, 0))
    kernel.write("cgroup", v2_memory("", 450 * MIB, 100 * MIB, 0))

    assert kernel.memory.available() == 350 * MIB


def test_a_limit_that_is_none_does_not_count(kernel: Kernel) -> None:
    kernel.groups("4:memory:/", "0::/")
    kernel.write("cgroup", v1_memory("", V1_NO_LIMIT, 100 * MIB, 0))
    kernel.write("cgroup", v2_memory("", "max", 100 * MIB, 0))

    assert kernel.memory.available() == 4000 * MIB


def test_more_used_than_the_limit_leaves_nothing(kernel: Kernel) -> None:
    kernel.groups("0::/")
    kernel.write("cgroup", v2_memory("", 100 * MIB, 120 * MIB, 0))

    assert kernel.memory.available() == 0


def test_files_that_are_strange_do_not_count(kernel: Kernel) -> None:
    kernel.groups("0::/")
    kernel.write("cgroup", v2_memory("", "a lot", 0, 0) | {"memory.stat": ""})

    assert kernel.memory.available() == 4000 * MIB


def test_without_the_folders_nothing_is_known(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "proc", tmp_path / "cgroup")
    memory.reset_peak()

    assert (memory.available(), memory.resident(), memory.peak()) == (UNKNOWN, 0, 0)


def test_the_peak_is_that_since_it_was_reset(kernel: Kernel) -> None:
    """Where it cannot be reset, as this file cannot: only a higher one is known."""

    def status(resident: int, high: int) -> None:
        kernel.write("proc", {"self/status": f"VmHWM:  {high} kB\nVmRSS:  {resident} kB"})

    memory = kernel.memory
    status(resident=100, high=900)
    memory.reset_peak()
    assert (memory.resident(), memory.peak()) == (100 * 1024, 100 * 1024)
    status(resident=300, high=900)
    assert memory.peak() == 300 * 1024
    status(resident=300, high=901)
    assert memory.peak() == 901 * 1024


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")
def test_this_process_is_seen_to_take_memory_and_give_it_back() -> None:
    memory = Memory()
    memory.reset_peak()
    before = memory.resident()
    taken = np.ones(64 * MIB, np.uint8)
    assert 0 < memory.available() < 2**50
    del taken

    assert 60 * MIB < memory.peak() - before < 100 * MIB
    memory.reset_peak()
    assert memory.peak() - before < 40 * MIB


# Cores


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5, 7})


def v1_cores(group: str, quota: object, period: object = 100000) -> dict[str, object]:
    return {f"cpu/{group}cpu.cfs_quota_us": quota, f"cpu/{group}cpu.cfs_period_us": period}


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    "files, cores",
    [
        ({}, 4),
        ({"cpu.max": "max 100000"}, 4),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "150000 100000"}, 2),  # a part of a core is one
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu.max": "900000 100000"}, 4),
        ({"cpu.max": "nonsense"}, 4),
        ({"cpu.max": "1 0"}, 4),
        ({"a/cpu.max": "300000 100000", "cpu.max": "200000 100000"}, 2),
        ({"a/cpu.max": "max 100000", "cpu.max": "300000 100000"}, 3),
        (v1_cores("", -1), 4),
        (v1_cores("", 250000), 3),
        (v1_cores("b/", 100000), 1),
        (v1_cores("b/", -1) | v1_cores("", 50000, 25000), 2),
        (v1_cores("", "nonsense"), 4),
        ({"cpu/cpu.cfs_quota_us": "100000"}, 4),
    ],
)
def test_a_quota_and_the_affinity_limit_the_cores(
    kernel: Kernel, files: Mapping[str, object], cores: int
) -> None:
    kernel.groups("2:cpu,cpuacct:/b", "0::/a")
    kernel.write("cgroup", files)

    assert kernel.cores == cores


@pytest.mark.usefixtures("four_cores")
def test_without_groups_the_affinity_counts(kernel: Kernel) -> None:
    assert kernel.cores == 4


def test_elsewhere_the_machine_counts(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "sched_setaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert kernel.cores == 3
    assert use_one_core() == set()
    use_cores(set())  # does nothing
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert kernel.cores == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_a_process_keeps_to_one_core_for_a_while() -> None:
    before = os.sched_getaffinity(0)
    try:
        assert use_one_core() == before
        assert len(os.sched_getaffinity(0)) == 1
    finally:
        use_cores(before)
    assert os.sched_getaffinity(0) == before
