"""A Ray cluster of three nodes on this machine, with what goes wrong in one; prints JSON.

    .ray/bin/python -m deploy.ray.trial

Under load a replica is killed, a node is killed, and a new version is rolled out; then one replica
becomes three and one again. The numbers in docs/ray.md come from here.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # with 1, nodes listen on all interfaces
    "PYTHONPATH": str(Path(__file__).parents[2]),  # for the processes of Ray
}

import numpy as np
import onnx
import ray
from onnx import TensorProto, helper, numpy_helper
from ray import serve
from ray.cluster_utils import Cluster

from deploy.ray.application import KerasBatchServer
from deploy.ray.load import Load

LOOPBACK: Final = "127.0.0.1"  # Ray takes the machine's outside address by default
PORT: Final = int(os.environ.get("TRIAL_PORT", "8123"))
CPUS: Final = 2  # that each node claims to have
NAME: Final = "keras"
WITHIN_S: Final = 240.0
LOAD_S: Final = float(os.environ.get("TRIAL_SECONDS", "5"))  # before and after each event
ROWS: Final = 64


def main() -> int:
    """Run all events; return 1 if an answer was wrong."""
    with tempfile.TemporaryDirectory(prefix="ray-trial-") as folder, cluster(folder) as nodes:
        first, second = (line(Path(folder), f"v{slope}", slope) for slope in (3, 5))
        found: dict[str, dict[str, Any]] = {}
        deploy(first, num_replicas=3, max_replicas_per_node=1)
        wait_until(lambda: len(replicas()) == 3, "three replicas")
        found["nothing"] = during(lambda: None, {3})
        found["a replica killed"] = during(kill_a_replica, {3})
        wait_until(lambda: len(replicas()) == 3, "a replica in place of the killed one")
        found["a node killed"] = during(nodes.kill_one, {3})
        nodes.add()
        wait_until(lambda: len(replicas()) == 3, "a replica on the new node")
        found["a new version"] = during(
            lambda: deploy(second, num_replicas=3, max_replicas_per_node=1), {3, 5}
        )
        serve.delete(NAME)
        found["one replica to three"] = scaled(first)
    print(json.dumps(found, indent=1))
    return 1 if any(each["wrong"] for each in found.values()) else 0


class Nodes:
    """The nodes of the cluster; the first one has the controller, and stays."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._workers = [self._new() for _ in range(2)]

    def add(self) -> None:
        self._workers.append(self._new())

    def kill_one(self) -> None:
        """Kill the last node, with all of its processes, as a power cut does."""
        self._cluster.remove_node(self._workers.pop(), allow_graceful=False)

    def _new(self) -> Any:
        return patiently(lambda: self._cluster.add_node(num_cpus=CPUS, node_ip_address=LOOPBACK))


@contextmanager
def cluster(folder: str) -> Iterator[Nodes]:
    """Start three nodes, connect to them, and start Ray Serve."""
    os.environ["RAY_TMPDIR"] = folder
    head = {
        "num_cpus": CPUS,
        "node_ip_address": LOOPBACK,
        "include_dashboard": False,
    }
    started = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    try:
        nodes = Nodes(started)
        ray.init(address=started.address, _node_ip_address=LOOPBACK, log_to_driver=False)
        # Proxies of nodes on one machine share the port.
        serve.start(
            proxy_location="EveryNode",
            http_options={"host": LOOPBACK, "port": PORT},
            logging_config={"enable_access_log": False, "log_level": "WARNING"},
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


def deploy(model: Path, **options: Any) -> None:
    """Serve a model, and return when all replicas do."""
    flags = ["--model.path", str(model), "--batching.max_rows", str(ROWS)]
    application = KerasBatchServer.options(
        max_ongoing_requests=2 * ROWS,
        health_check_period_s=2,
        ray_actor_options={"num_cpus": 1},
        **options,
    ).bind([*flags, "--logging.access", "false"])
    serve.run(application, name=NAME, route_prefix="/")


def during(event: Callable[[], None], slopes: set[int]) -> dict[str, Any]:
    """Return what became of requests before, during and after an event."""
    with Load(PORT, slopes) as load:
        load.run(LOAD_S)
        began = time.monotonic()
        event()
        seconds = time.monotonic() - began
        load.run(LOAD_S)
    return {**load.counts(), "seconds of the event": round(seconds, 1)}


def scaled(model: Path) -> dict[str, Any]:
    """Return how long it took to get from one replica to three under load, and back without."""
    deploy(
        model,
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": 3,
            "target_ongoing_requests": 4,
            "upscale_delay_s": 2,
            "downscale_delay_s": 5,
            "metrics_interval_s": 1,
            "look_back_period_s": 4,
        },
        num_replicas="auto",
    )
    wait_until(lambda: len(replicas()) == 1, "one replica")
    with Load(PORT, {3}) as load:
        began = time.monotonic()
        wait_until(lambda: len(replicas()) == 3, "three replicas")
        grown = time.monotonic() - began
        load.run(LOAD_S)
    counts = load.counts()
    began = time.monotonic()
    wait_until(lambda: len(replicas()) == 1, "one replica again")
    back = time.monotonic() - began
    return {**counts, "seconds to three": round(grown, 1), "seconds to one": round(back, 1)}


def kill_a_replica() -> None:
    os.kill(replicas()[0], signal.SIGKILL)


def replicas() -> list[int]:
    """Return the processes of the replicas that are there, be they ready or not."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(b"ray::ServeReplica:" + NAME.encode()):
                found.append(int(entry.name))
    return sorted(found)


def line(folder: Path, name: str, slope: float) -> Path:
    """Write a network that answers slope · x + 1."""
    constants = [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in (("w", [[slope]]), ("b", [1.0]))
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", 1]) for n in "xy")
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"])
    graph = helper.make_graph([node], "line", [x], [y], initializer=constants)
    opset = [helper.make_opsetid("", 18)]
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once a condition is true; raises TimeoutError."""
    end = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {WITHIN_S:g} s: {what}")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
