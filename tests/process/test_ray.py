"""The application of deploy/ray on a Ray cluster of three nodes on this machine."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from typing import Any

import pytest

from tests.process.harness import CHECKOUT, free_port

RAY = CHECKOUT / ".ray" / "bin" / "python"

pytestmark = [
    pytest.mark.torture,
    pytest.mark.process,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not RAY.exists(), reason="ray is not installed: make ray"),
]


@cache
def found() -> dict[str, Any]:
    """Run the trial once: what became of the requests, by event."""
    done = subprocess.run(
        [RAY, "-m", "deploy.ray.trial"],
        cwd=CHECKOUT,
        env={**os.environ, "TRIAL_PORT": str(free_port())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    events: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return events


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
