"""Whatever happens to requests, each is counted once, under the status that its client saw."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Any

import pytest

from tests.support.harness import FakeModel, Server, over_http, serving, with_settings

SENT = 120


async def send(server: Server, requests: list[tuple[Any, dict[str, str]]]) -> Counter[str]:
    """Send all requests at once; return how many were answered with each status."""
    answers = await asyncio.gather(*(server.predict(data, headers) for data, headers in requests))
    return Counter(str(answer.status) for answer in answers)


async def counted(server: Server, name: str, label: str) -> Counter[str]:
    """Return a counter of `GET /metrics` by one of its labels, without what is zero."""
    text = (await server.ask("GET", "/metrics")).body.decode()
    lines = re.findall(rf'^{name}{{.*?{label}="(\w+)".*?}} ([\d.e+]+)$', text, re.MULTILINE)
    return Counter({value: int(float(times)) for value, times in lines if float(times)})


async def check(server: Server, seen: Counter[str], sent: int) -> None:
    """See that what was sent, seen by clients and counted is the same."""
    assert seen.total() == sent
    assert await counted(server, "predict_requests_total", "status") == seen


@over_http
async def test_a_burst_is_answered_and_counted() -> None:
    async with serving(FakeModel()) as server:
        seen = await send(server, [([n], {}) for n in range(SENT)])

        assert seen == {"200": SENT}
        await check(server, seen, SENT)


@over_http
async def test_an_overload_is_counted_with_its_reasons() -> None:
    model = FakeModel()
    settings = with_settings(batching={"max_rows": 4, "queue_rows": 10})
    async with serving(model, settings) as server:
        model.hold()
        sending = asyncio.ensure_future(send(server, [([n], {}) for n in range(SENT)]))
        while server.service.counts.refusals["queue_full"] < SENT - 14:
            await asyncio.sleep(0.001)  # a call of up to 4 rows is held, and 10 rows wait
        model.release()
        seen = await sending
        too_many = await server.predict([[n] for n in range(11)])
        seen[str(too_many.status)] += 1

        assert set(seen) == {"200", "503", "413"}
        await check(server, seen, SENT + 1)
        refused = await counted(server, "predict_refused_total", "reason")
        assert refused == {"queue_full": seen["503"], "too_large": 1}


@over_http
async def test_a_slow_model_is_counted_with_its_deadlines() -> None:
    model = FakeModel()
    async with serving(model) as server:
        model.hold()
        patience = {"X-Request-Timeout-Ms": "100"}
        sending = asyncio.ensure_future(
            send(server, [([n], patience if n % 2 else {}) for n in range(SENT)])
        )
        while server.service.counts.expiries < SENT // 2:
            await asyncio.sleep(0.01)
        model.release()
        seen = await sending

        assert seen == {"200": SENT // 2, "504": SENT // 2}
        await check(server, seen, SENT)
        assert server.service.counts.expiries == SENT // 2


@pytest.mark.logs_warnings
@over_http
async def test_a_failing_model_is_counted_with_those_at_fault() -> None:
    model = FakeModel()
    async with serving(model, expected_logs=["the model failed"]) as server:
        model.poison = {7.0, 50.0}
        seen = await send(server, [([n], {}) for n in range(SENT)])

        assert seen == {"200": SENT - 2, "500": 2}
        await check(server, seen, SENT)
