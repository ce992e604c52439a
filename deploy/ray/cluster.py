"""A Ray cluster on this machine, with the application on it, for the trial and the throughput."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

if "ray" in sys.modules:
    raise ImportError("ray reads these variables when it is imported: import this module first")
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # with 1, nodes listen on all interfaces
    "PYTHONPATH": str(Path(__file__).parents[2]),  # for the processes of Ray
}

import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve import Application
from ray.serve.schema import ProxyStatus

from deploy.ray.application import KerasBatchServer

LOOPBACK: Final = "127.0.0.1"  # Ray takes the machine's outside address by default
WITHIN_S: Final = 240.0
ROWS: Final = 64  # of a batch
QUIET: Final = {"enable_access_log": False, "log_level": "WARNING"}


class Nodes:
    """The nodes of the cluster; the first one has the controller, and stays."""

    def __init__(self, cluster: Cluster, workers: int, cpus: int) -> None:
        self._cluster = cluster
        self._cpus = cpus
        self._workers = [self._new() for _ in range(workers)]

    def add(self) -> None:
        self._workers.append(self._new())

    def kill_one(self) -> None:
        """Kill the last node, with all of its processes, as a power cut does."""
        self._cluster.remove_node(self._workers.pop(), allow_graceful=False)

    def _new(self) -> Any:
        return patiently(
            lambda: self._cluster.add_node(num_cpus=self._cpus, node_ip_address=LOOPBACK)
        )


@contextmanager
def cluster(folder: str, port: int, workers: int, cpus: int) -> Iterator[Nodes]:
    """Start a node and so many workers, connect to them, and start Ray Serve.

    All proxies listen on `port`; each node claims to have `cpus` cores.
    """
    os.environ["RAY_TMPDIR"] = folder
    head = {
        "num_cpus": cpus,
        "node_ip_address": LOOPBACK,
        "include_dashboard": False,
    }
    started = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    try:
        nodes = Nodes(started, workers, cpus)
        ray.init(address=started.address, _node_ip_address=LOOPBACK, log_to_driver=False)
        # Proxies of nodes on one machine share the port.
        serve.start(
            proxy_location="EveryNode",
            http_options={"host": LOOPBACK, "port": port},
            logging_config=QUIET,
        )
        yield nodes
        serve.shutdown()
    finally:
        ray.shutdown()
        started.shutdown()


def patiently(start: Callable[[], Any]) -> Any:
    """Start a node; a busy machine may need longer than the 30 s that Ray grants."""
    for _ in range(4):
        try:
            return start()
        except Exception as error:  # Ray has no class for it
            print(f"again, since: {error}", file=sys.stderr)
    return start()


def deploy(model: Path, name: str, *flags: str, route_prefix: str = "/", **options: Any) -> None:
    """Serve a model, and return when all replicas do.

    `flags` are settings of the service, `options` those of the deployment.
    """
    batches = ["--model.path", str(model), "--batching.max_rows", str(ROWS)]
    application = KerasBatchServer.options(
        max_ongoing_requests=2 * ROWS,
        health_check_period_s=2,
        ray_actor_options={"num_cpus": 1},
        **options,
    ).bind([*batches, "--logging.access", "false", *flags])
    run(application, name, route_prefix)


def run(application: Application, name: str, route_prefix: str) -> None:
    """Serve any application, and return when all replicas do."""
    serve.run(application, name=name, route_prefix=route_prefix, logging_config=QUIET)


def remove(name: str) -> None:
    """Stop an application, and return when its replicas have ended."""
    serve.delete(name)


def replicas(name: str) -> list[int]:
    """Return the processes of an application's replicas that are there, be they ready or not."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(f"ray::ServeReplica:{name}:".encode()):
                found.append(int(entry.name))
    return sorted(found)


def proxies() -> int:
    """Return how many nodes have a proxy that is ready for connections."""
    return sum(state == ProxyStatus.HEALTHY for state in serve.status().proxies.values())


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once a condition is true; raises TimeoutError."""
    end = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {WITHIN_S:g} s: {what}")
        time.sleep(0.1)
