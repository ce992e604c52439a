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
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from deploy.ray.cluster import cluster, deploy, proxies, remove, replicas, wait_until
from deploy.ray.load import Load
from deploy.ray.networks import line

PORT: Final = int(os.environ.get("TRIAL_PORT", "8123"))
CPUS: Final = 2  # that each node claims to have
NAME: Final = "keras"
LOAD_S: Final = float(os.environ.get("TRIAL_SECONDS", "5"))  # before and after each event
WORKERS: Final = 2  # nodes beside the first


def main() -> int:
    """Run all events; return 1 if an answer was wrong."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-trial-") as folder,
        cluster(folder, PORT, WORKERS, CPUS) as nodes,
    ):
        first, second = (line(Path(folder), f"v{slope}", slope) for slope in (3, 5))
        found: dict[str, dict[str, Any]] = {}
        deploy(first, NAME, num_replicas=3, max_replicas_per_node=1)
        wait_until(all_are_ready, "three replicas")
        found["nothing"] = during(lambda: None, {3})
        found["a replica killed"] = during(kill_a_replica, {3})
        wait_until(all_are_ready, "a replica in place of the killed one")
        found["a node killed"] = during(nodes.kill_one, {3})
        nodes.add()
        wait_until(all_are_ready, "a replica on the new node")
        found["a new version"] = during(
            lambda: deploy(second, NAME, num_replicas=3, max_replicas_per_node=1), {3, 5}
        )
        remove(NAME)
        found["one replica to three"] = scaled(first)
    print(json.dumps(found, indent=1))
    return 1 if any(each["wrong"] for each in found.values()) else 0


def all_are_ready() -> bool:
    """Return whether three replicas are there, and the proxy of each node is ready.

    Before, Ray may start a proxy again, which closes its connections.
    """
    return len(replicas(NAME)) == 3 and proxies() == 1 + WORKERS


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
        NAME,
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
    wait_until(lambda: len(replicas(NAME)) == 1, "one replica")
    with Load(PORT, {3}) as load:
        began = time.monotonic()
        wait_until(lambda: len(replicas(NAME)) == 3, "three replicas")
        grown = time.monotonic() - began
        load.run(LOAD_S)
    counts = load.counts()
    began = time.monotonic()
    wait_until(lambda: len(replicas(NAME)) == 1, "one replica again")
    back = time.monotonic() - began
    return {**counts, "seconds to three": round(grown, 1), "seconds to one": round(back, 1)}


def kill_a_replica() -> None:
    os.kill(replicas(NAME)[0], signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
