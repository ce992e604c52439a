"""The events behind the live page, and the numbers in them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from server.batching import Draining
from server.errors import TooManyConnections
from server.monitoring.broadcast import Broadcast
from server.monitoring.live_page import LivePage, Reading, quantile, snapshot
from server.serving.counts import DURATION_BUCKETS, Histogram
from tests.support.harness import SOON, Client, FakeModel, Server, over_http, request_bytes, serving


async def listen(server: Server) -> Client:
    """Request the events, and read the headers of the response."""
    client = await server.connect()
    await client.send(request_bytes("GET", "/events"))
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"text/event-stream" in head
    return client


async def events(client: Client, times: int) -> list[tuple[str, Any]]:
    """Return the next events: name and data."""
    found = []
    for _ in range(times):
        async with asyncio.timeout(SOON):
            text = (await client.reader.readuntil(b"\n\n")).decode()
        lines = [line for line in text.splitlines() if line.startswith(("event: ", "data: "))]
        name, data = (line.partition(": ")[2] for line in lines)
        found.append((name, json.loads(data)))
    return found


def reading(**changes: Any) -> Reading:
    """Return a reading of zeros, with some fields replaced."""
    nothing = Reading(
        "ready", "m", "1", 0, 0, [0] * (len(DURATION_BUCKETS) + 1), 0, 0.0, {}, 0, 0.0
    )
    return nothing._replace(**changes)


# The numbers


def test_a_snapshot_has_the_rates_of_its_second() -> None:
    durations = Histogram(DURATION_BUCKETS)
    for seconds in [0.004] * 99 + [0.7]:
        durations.add(seconds)
    after = reading(
        answered=90, others=10, durations=durations.counts, calls=5, call_rows=200.0,
        refusals={"queue_full": 8, "draining": 0}, queue_rows=7, lag_seconds=0.0125,
    )  # fmt: skip

    told = snapshot(reading(), after, 2.0)

    assert (told["answered"], told["others"], told["refused"]) == (45, 5, 4)
    assert (told["batch_rows"], told["queue_rows"], told["lag_ms"]) == (40, 7, 12.5)
    assert told["refusals"] == {"queue_full": 8}
    assert 2.5 <= told["p50_ms"] <= 5
    assert told["p99_ms"] <= 5


def test_a_second_in_which_nothing_happened_has_no_percentiles() -> None:
    before = reading(durations=[5] * (len(DURATION_BUCKETS) + 1), calls=3, call_rows=9.0)

    told = snapshot(before, before, 1.0)

    assert (told["p50_ms"], told["p99_ms"], told["batch_rows"]) == (None, None, None)


def test_a_quantile_above_the_last_bound_is_the_last_bound() -> None:
    assert quantile([0] * len(DURATION_BUCKETS) + [3], 0.5) == DURATION_BUCKETS[-1]


# The stream


@over_http
async def test_a_listener_gets_the_history_then_an_event_per_second() -> None:
    async with serving(FakeModel()) as server:
        first = await listen(server)
        [(name, before)] = await events(first, 1)
        await server.predict([1])
        [*_, (_, last)] = told = await events(first, 2)
        second = await listen(server)
        [(_, history)] = await events(second, 1)

    assert (name, {name for name, _ in told}) == ("history", {"second"})
    assert sum(second["answered"] for _, second in told) > 0
    assert history[len(before) :][: len(told)] == [second for _, second in told]
    assert last["state"] == "ready"


@over_http
async def test_all_listeners_get_the_same_snapshot() -> None:
    async with serving(FakeModel()) as server:
        clients = [await listen(server) for _ in range(5)]
        told = [(await events(client, 2))[1] for client in clients]

    assert all(one == told[0] for one in told)


@over_http
async def test_the_stream_ends_when_the_server_drains() -> None:
    async with serving(FakeModel()) as server:
        client = await listen(server)
        await events(client, 1)
        await asyncio.wait_for(server.activity.idle(), SOON)
        rest = await client.reader.readuntil(b"0\r\n\r\n")
        refused = await server.ask("GET", "/events")

    assert rest.endswith(b"0\r\n\r\n")
    assert (refused.status, refused["Retry-After"]) == (503, "1")


@over_http
async def test_head_of_the_events_ends_at_once() -> None:
    async with serving(FakeModel()) as server:
        client = await server.connect()
        response = await client.ask("HEAD", "/events")

    assert (response.status, response.media_type) == (200, "text/event-stream")


@over_http
async def test_a_listener_that_disconnects_is_removed() -> None:
    async with serving(FakeModel()) as server:
        client = await listen(server)
        await events(client, 1)
        client.abort()
        async with asyncio.timeout(SOON):
            while server.activity._active:
                await asyncio.sleep(0.01)


# The broadcast


@pytest.mark.gen_test
async def test_a_listener_that_does_not_read_is_disconnected_and_delays_nobody() -> None:
    broadcast = Broadcast(behind=3)
    heard: list[bytes] = []
    stuck = asyncio.Event()

    async def hear(message: bytes) -> None:
        heard.append(message)

    async def be_stuck(_: bytes) -> None:
        await stuck.wait()

    reader = asyncio.ensure_future(broadcast.follow(b"first", hear))
    sleeper = asyncio.ensure_future(broadcast.follow(b"first", be_stuck))
    for number in range(5):
        await asyncio.sleep(0)
        broadcast.send(b"%d" % number)
    await asyncio.wait([sleeper], timeout=SOON)

    assert sleeper.cancelled()
    assert len(broadcast) == 1
    broadcast.end()
    await asyncio.wait([reader], timeout=SOON)
    assert heard[:5] == [b"first", b"0", b"1", b"2", b"3"]


@pytest.mark.gen_test
async def test_listeners_are_limited_in_number_and_rejected_after_the_end() -> None:
    broadcast = Broadcast(most=1)

    async def hear(_: bytes) -> None:
        pass

    one = asyncio.ensure_future(broadcast.follow(b"", hear))
    await asyncio.sleep(0)
    with pytest.raises(TooManyConnections):
        await broadcast.follow(b"", hear)
    broadcast.end()
    await asyncio.wait([one], timeout=SOON)
    with pytest.raises(Draining):
        await broadcast.follow(b"", hear)


@pytest.mark.gen_test
async def test_no_more_than_five_minutes_are_kept() -> None:
    live_page = LivePage(reading)
    for _ in range(310):
        live_page._tick()
        live_page.end()
    written: list[bytes] = []

    async def write(message: bytes) -> None:
        written.append(message)

    live_page.broadcast = Broadcast()
    following = asyncio.ensure_future(live_page.follow(write))
    await asyncio.sleep(0)
    following.cancel()

    [data] = [line for line in written[0].decode().splitlines() if line.startswith("data: ")]
    assert len(json.loads(data.removeprefix("data: "))) == 300
