"""The application of deploy/ray on a Ray cluster on this machine, of three nodes or of one."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from typing import Any

import pytest

from scripts.comparison.wrk import is_installed
from tests.process.harness import CHECKOUT, free_port

RAY = CHECKOUT / ".ray" / "bin" / "python"

NETWORKS, CONNECTIONS, SIDES = 2, 2, 4

pytestmark = [
    pytest.mark.torture,
    pytest.mark.process,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not RAY.exists(), reason="ray is not installed: make ray"),
]


@cache
def found() -> dict[str, Any]:
    """Run the trial once: what became of the requests, by event."""
    return printed("deploy.ray.trial", TRIAL_PORT=str(free_port()))


def printed(module: str, *words: str, **environ: str) -> dict[str, Any]:
    """Run a module of deploy/ray, and return what it prints: JSON after Ray's own words."""
    done = subprocess.run(
        [RAY, "-m", module, *words],
        cwd=CHECKOUT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return document


def test_no_answer_is_wrong_whatever_happens() -> None:
    assert {event: counts["wrong"] for event, counts in found().items()} == dict.fromkeys(
        found(), 0
    )
    assert all(counts["requests"] > 0 for counts in found().values())


@pytest.mark.parametrize("event", ["nothing", "a new version", "one replica to three"])
def test_what_is_planned_loses_nothing(event: str) -> None:
    """Without a second try."""
    assert found()[event]["failed at the first try"] == {}


@pytest.mark.parametrize("event", ["a replica killed", "a node killed"])
def test_a_client_that_tries_again_loses_nothing(event: str) -> None:
    assert found()[event]["lost after all tries"] == 0


@pytest.mark.skipif(not is_installed(), reason="wrk is not installed")
def test_the_throughput_of_every_side_is_measured() -> None:
    words = ("--rounds", "1", "--seconds", "1", "--port", str(free_port()))

    rows = printed("deploy.ray.throughput", *words)["rows"]

    assert len(rows) == NETWORKS * CONNECTIONS * SIDES
    assert all(row["requests per second"] > 0 for row in rows)
