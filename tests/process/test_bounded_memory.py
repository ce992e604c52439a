"""The memory of all processes stays below the sum that docs/operations.md derives."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import pytest

from tests.process.conftest import Start
from tests.process.harness import Server, wait_until
from tests.process.reading_clients import Tally, read_at_once, read_slowly
from tests.process.resident_memory import MIB, memory_of_all, sampling
from tests.process.test_hostile_clients import HEAD
from tests.process.test_slow_readers import ask_and_read_little

pytestmark = [pytest.mark.process]

SLOW, LARGE, DOCUMENTS, BODIES, IDLE = 200, 64, 20, 200, 10_000
MOST_OPEN: Final = IDLE + SLOW + LARGE + DOCUMENTS + BODIES + 64
PATHS: Final = ("/openapi.json", "/docs")
HELD_SECONDS: Final = 10  # in which slow readers read, after each has had a response

# The table in docs/operations.md.
CONNECTION_BYTES: Final = {"llhttp": 4 * 2**10, "tornado": 12 * 2**10}
BODY_PART_BYTES: Final = {"llhttp": 0, "tornado": 128 * 2**10}
DOCUMENT_BYTES: Final = 16 * MIB
ANSWER_COPIES: Final = 5
CALL_COPIES: Final = 4

# The settings of the server, and its model; see `fake_model.WideModel`.
MAX_ROWS: Final = 4
ROW_BYTES: Final = 4 + 896 * 928 * 3 * 4
LARGEST_ANSWER: Final = 28 * MIB
QUEUE_BYTES: Final = 16 * MIB
ANSWER_BYTES: Final = 256 * MIB  # the default
BODY_BYTES: Final = 64 * MIB
HALF_BODY: Final = MIB


def rise(transport: str, connections: int, *, answers: bool, bodies: bool) -> int:
    """Return by how much the memory may rise after the start, in bytes."""
    total = connections * CONNECTION_BYTES[transport] + DOCUMENT_BYTES
    if bodies:
        total += BODY_BYTES + BODIES * BODY_PART_BYTES[transport]
    if answers:
        total += 2 * QUEUE_BYTES + ANSWER_BYTES
        total += ANSWER_COPIES * LARGEST_ANSWER + CALL_COPIES * MAX_ROWS * ROW_BYTES
    return total


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow the test and its server as many open files as they need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MOST_OPEN + 1000:
        pytest.skip(f"only {hard} open files are allowed: ulimit -Hn {MOST_OPEN + 1000}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MOST_OPEN + 1000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def wide(start: Start, tmp_path: Path, many_files: None, transport: str) -> Server:
    """A server whose model answers a number with 10 MB, or as JSON 27 MB."""
    file = tmp_path / "wide.keras"
    file.write_bytes(b"the fake model looks at the name")
    return start(
        str(file),
        *("--http.transport", transport, "--http.max_connections", str(MOST_OPEN)),
        *("--http.idle_timeout_s", "600", "--batching.deadline_ms", "300000"),
        *("--batching.max_rows", str(MAX_ROWS), "--batching.queue_bytes", str(QUEUE_BYTES)),
        *("--http.body_bytes", str(BODY_BYTES), "--http.body_timeout_s", "300"),
    )


@contextmanager
def idle_connections(server: Server) -> Iterator[None]:
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(IDLE)]
    server.settle()
    yield
    for client in clients:
        client.close()


@contextmanager
def half_bodies(server: Server) -> Iterator[None]:
    """Keep clients that stop in the middle of their bodies."""
    clients = [server.connect() for _ in range(BODIES)]
    for client in clients:
        client.send_bytes(HEAD + b"Content-Length: %d\r\n\r\n" % (2 * HALF_BODY))
        client.send_bytes(b" " * HALF_BODY)
    server.settle()
    yield
    for client in clients:
        client.close()


@contextmanager
def slow_readers_of_documents(server: Server) -> Iterator[None]:
    clients = [ask_and_read_little(server.port, PATHS[n % len(PATHS)]) for n in range(DOCUMENTS)]
    server.settle()
    yield
    for client in clients:
        client.close()


async def ask_for_large_answers(port: int, slow: int, large: int) -> tuple[Tally, Tally]:
    """Let so many clients read slowly, and so many at once; return what both have seen."""
    slowly, at_once = Tally(), Tally()
    reading = [asyncio.ensure_future(read_slowly(port, slowly)) for _ in range(slow)]
    complete = [asyncio.ensure_future(read_at_once(port, at_once)) for _ in range(large)]
    async with asyncio.timeout(300):
        while slowly.asked < slow or at_once.asked < large:
            await asyncio.sleep(0.1)
        await asyncio.sleep(HELD_SECONDS if slow else 0)
        assert not any(each.done() for each in reading), "none is disconnected"
        for each in reading:
            each.cancel()
        await asyncio.gather(*complete)
    return slowly, at_once


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.parametrize("transport", ["llhttp", "tornado"])
@pytest.mark.parametrize(
    "slow, large, documents, bodies, idle",
    [
        pytest.param(SLOW, 0, 0, 0, 0, id="slow readers"),
        pytest.param(0, LARGE, 0, 0, 0, id="large answers"),
        pytest.param(0, 0, DOCUMENTS, 0, 0, id="slow readers of documents"),
        pytest.param(0, 0, 0, BODIES, 0, id="half bodies"),
        pytest.param(0, 0, 0, 0, IDLE, id="idle connections"),
        pytest.param(SLOW, LARGE, DOCUMENTS, BODIES, IDLE, id="all at once"),
    ],
)
def test_memory_of_all_processes_stays_below_the_derived_sum(
    wide: Server, transport: str, slow: int, large: int, documents: int, bodies: int, idle: int
) -> None:
    before = memory_of_all(wide.process.pid)
    with (
        sampling(wide.process.pid) as samples,
        idle_connections(wide) if idle else nullcontext(),
        slow_readers_of_documents(wide) if documents else nullcontext(),
        half_bodies(wide) if bodies else nullcontext(),
    ):
        slowly, at_once = asyncio.run(ask_for_large_answers(wide.port, slow, large))
        taken = samples.number
        wait_until(lambda: samples.number > taken + 10, what="samples of the end")
        rejected = wide.get("/metrics").body.count(b'reason="arriving_bodies"} 0.0') == 0
    connections = slow + large + documents + bodies + idle
    may_rise = rise(transport, connections, answers=bool(slow or large), bodies=bool(bodies))
    print(
        f"{transport}: {before / MIB:.0f} MiB before, at most {samples.peak / MIB:.0f} of "
        f"{(before + may_rise) / MIB:.0f} in {samples.number} samples; slow readers: {slowly}; "
        f"large answers: {at_once}"
    )

    assert samples.peak < before + may_rise
    assert at_once.complete == large
    assert at_once.longest <= LARGEST_ANSWER
    assert (slowly.statuses | at_once.statuses).keys() <= {200, 503}
    assert bool(slow) == bool(slowly.statuses[200])
    assert bool(bodies) == rejected
    wait_until(lambda: not wide.metric("predict_answer_bytes"), what="all memory released")
    assert "Traceback" not in wide.stderr
