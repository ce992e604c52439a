"""What the throughput is measured of: one server, the application on Ray, and `@serve.batch`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.ray.cluster import ROWS, deploy, remove, replicas, run
from deploy.ray.processes import family
from deploy.ray.serve_batch import ServeBatch
from scripts.measurements.serving import serving

SERVER: Final = "`python -m server`"
APPLICATION: Final = "application"
WAITS_S: Final = {"serve-batch-10": 0.01, "serve-batch-0": 0.0}  # Ray's default, and the least
FLAGS: Final = ("--model.threads", "1", "--logging.access", "false", "--logging.payloads", "false")


@dataclass(frozen=True)
class Side:
    """One that answers.

    Attributes:
        roots: returns its processes; their children are its own, too.
        is_on_ray: whether it uses the cluster's processes besides.
    """

    name: str
    port: int
    path: str
    roots: Callable[[], list[int]]
    is_on_ray: bool

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


@contextmanager
def sides(model: Path, port: int) -> Iterator[list[Side]]:
    """Serve a model in all ways during the block; Ray's proxy listens on `port`."""
    batches = ("--batching.max_rows", str(ROWS), "--http.transport", "llhttp")
    with serving(model, *batches, *FLAGS) as server:
        root = f"/{APPLICATION}"
        deploy(
            *(model, APPLICATION, *FLAGS, "--http.root_path", root),
            route_prefix=root,
            num_replicas=1,
        )
        for name, wait_s in WAITS_S.items():
            options = ServeBatch.options(
                max_ongoing_requests=2 * ROWS, num_replicas=1, ray_actor_options={"num_cpus": 1}
            )
            run(options.bind(str(model), wait_s), name, f"/{name}")
        yield [
            Side(SERVER, server.port, "/predict", lambda: [server.pid], is_on_ray=False),
            _on_ray("this application on Ray Serve", APPLICATION, port, "/predict"),
            *(
                _on_ray(f"`@serve.batch`, `batch_wait_timeout_s={wait_s:g}`", name, port)
                for name, wait_s in WAITS_S.items()
            ),
        ]
    for name in (APPLICATION, *WAITS_S):
        remove(name)


def idle_processes(measured: Side, compared: Sequence[Side]) -> set[int]:
    """Return the processes that have nothing to do while one side is measured."""
    if not measured.is_on_ray:
        return family([os.getpid()]) - family(measured.roots())
    return family(pid for side in compared if side is not measured for pid in side.roots())


def _on_ray(title: str, name: str, port: int, route: str = "") -> Side:
    return Side(title, port, f"/{name}{route}", lambda: replicas(name), is_on_ray=True)
