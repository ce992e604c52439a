from __future__ import annotations

import asyncio

import pytest

from scripts.bench_request import measure
from server.run import loop_factory


@pytest.mark.parametrize("logs", [True, False])
def test_it_measures_answered_requests(logs: bool):
    """Its client asserts the status 200."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert 0 < runner.run(measure(1, payloads=logs, access=logs)) < 10_000
