"""The control groups that this process is in (Linux)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
CGROUP: Final = Path("/sys/fs/cgroup")


def folders(controller: str, proc: Path = PROC, cgroup: Path = CGROUP) -> Iterator[Path]:
    """Yield the folder of the group that `controller` limits this process by, and all above it.

    Those of version 2, and of version 1 where the controller is there; their files have other
    names. In a container the root is its own group, and the path is one of the host's perhaps.
    """
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            yield from _up(cgroup, path)
        elif controller in controllers.split(","):
            yield from _up(cgroup / controller, path)


def _up(root: Path, path: str) -> Iterator[Path]:
    folder = root / path.lstrip("/")
    while folder != root and folder.is_relative_to(root):
        yield folder
        folder = folder.parent
    yield root
