"""Memory of idle connections, and their effect on the throughput of busy ones."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from scripts.comparison.wrk import measure
from scripts.measurements.figure import Figure, median_ratio
from scripts.measurements.serving import Server, serving

IDLE = 5_000
BUSY = 64
MOST_KIB = 10.0
LEAST = 0.9
BODY = '{"data": [10]}'
REQUEST = (
    "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n{BODY}"
).encode()


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Measure the memory of idle connections, and the throughput with and without them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pairs, kibibytes = [], []
    with serving(example, "--http.idle_timeout_s", "600") as server:
        measure(server.url, BODY, BUSY, seconds)
        for _ in range(rounds):
            alone = measure(server.url, BODY, BUSY, seconds).rate
            before = server.rss()
            with idle_connections(server):
                kibibytes.append((server.rss() - before) / IDLE / 1024)
                pairs.append((measure(server.url, BODY, BUSY, seconds).rate, alone))
    ratio, size = median_ratio(pairs), max(kibibytes)  # max: later rounds reuse freed memory
    return Figure(
        f"{IDLE:,} idle connections: memory of each; throughput of {BUSY} busy ones, relative to "
        "no idle ones",
        f"{size:.1f} KiB; {ratio:.2f} (median {median(rate for rate, _ in pairs):,.0f}/s)",
        f"at most {MOST_KIB:g} KiB; at least {LEAST}",
        size <= MOST_KIB and ratio >= LEAST,
    )


@contextlib.contextmanager
def idle_connections(server: Server) -> Iterator[None]:
    """Keep IDLE connections open, after one request on each."""
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            connection = stack.enter_context(
                socket.create_connection(("127.0.0.1", server.port), timeout=10)
            )
            connection.sendall(REQUEST)
            connection.recv(4096)
        time.sleep(1)
        yield
    time.sleep(1)
