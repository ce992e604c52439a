"""The cost of monitoring: scrapes of the metrics, and open live pages."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from scripts.comparison.wrk import measure
from scripts.measurements.figure import Figure, median_ratio
from scripts.measurements.serving import Server, serving

SCRAPES = 1_000
PAGES = 20
RUN_SECONDS = 30.0
CONNECTIONS = 64
LEAST = 0.9
BODY = '{"data": [10]}'
EVENTS = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Measure the throughput with and without monitoring, in runs of at least RUN_SECONDS."""
    seconds = max(seconds, RUN_SECONDS)
    pairs = []
    with serving(example) as server:
        measure(server.url, BODY, CONNECTIONS, 3)
        for _ in range(rounds):
            alone = measure(server.url, BODY, CONNECTIONS, seconds).rate
            with open_pages(server), scrapes(server, seconds):
                pairs.append((measure(server.url, BODY, CONNECTIONS, seconds).rate, alone))
    ratio = median_ratio(pairs)
    return Figure(
        f"{SCRAPES:,} scrapes in {seconds:g} s and {PAGES} live pages: throughput, of that without",
        f"{ratio:.2f} (median {median(rate for rate, _ in pairs):,.0f}/s)",
        f"at least {LEAST}",
        ratio >= LEAST,
    )


@contextlib.contextmanager
def open_pages(server: Server) -> Iterator[None]:
    """Read the events like PAGES live pages; raises RuntimeError if one received none."""
    with contextlib.ExitStack() as stack:
        pages = [stack.enter_context(Listener(server)) for _ in range(PAGES)]
        yield
        if not all(page.events for page in pages):
            raise RuntimeError("a live page got no events")


class Listener:
    """Reads a stream of events in a thread."""

    def __init__(self, server: Server) -> None:
        self.events = 0
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        self._socket.sendall(EVENTS)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._socket.recv(65_536):
                self.events += data.count(b"event: second")

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


@contextlib.contextmanager
def scrapes(server: Server, seconds: float) -> Iterator[None]:
    """Make SCRAPES scrapes, evenly within `seconds`; raises RuntimeError if one is not answered."""
    answered: list[int] = []

    def scrape() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        begin = time.monotonic()
        for number in range(SCRAPES):
            time.sleep(max(0.0, begin + number * seconds / SCRAPES - time.monotonic()))
            connection.request("GET", "/metrics")
            with connection.getresponse() as response:
                response.read()
                answered.append(response.status)
        connection.close()

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    yield
    thread.join(seconds)
    if answered != [200] * SCRAPES:
        raise RuntimeError(f"{len(answered)} of {SCRAPES} scrapes were answered")
