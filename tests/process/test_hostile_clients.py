"""Clients that send slowly, do not read, or are too many, and their effect on other clients."""

from __future__ import annotations

import resource
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import Client, Server, wait_until

pytestmark = pytest.mark.process

TIME_LIMIT_S = 2  # of each time limit
LIMITS = (
    *("--http.header_timeout_s", str(TIME_LIMIT_S), "--http.body_timeout_s", str(TIME_LIMIT_S)),
    *("--http.idle_timeout_s", str(TIME_LIMIT_S), "--batching.max_rows", "20000"),
)
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b'Content-Length: 13\r\n\r\n{"data":[10]}'
Attack = Callable[[list[Client], threading.Event], None]


def one_byte_chunks(number: int) -> bytes:
    """Return a valid request whose body has `number` chunks of one byte."""
    body = b'{"data":[10]' + b" " * (number - 13) + b"}"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def drip(data: bytes) -> Attack:
    """Send a byte from each client every 20 ms, and never the last byte."""

    def attack(clients: list[Client], stop: threading.Event) -> None:
        for n in range(len(data) - 1):
            for client in clients:
                client.send_bytes(data[n : n + 1])
            if stop.wait(0.02):
                return

    return attack


def never_read(clients: list[Client], stop: threading.Event) -> None:
    """Send requests with large answers, and read nothing."""
    rows = b'{"data":[%b]}' % b",".join([b"[0.1]"] * 2000)
    prediction = HEAD + b"Content-Length: %d\r\n\r\n" % len(rows) + rows
    page = b"GET /static/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"  # 1.4 MB
    for client in clients:
        client.send_bytes((prediction + page) * 4)


def do_nothing(clients: list[Client], stop: threading.Event) -> None:
    """Keep idle connections."""


def send_whole(data: bytes) -> Attack:
    """Send a valid but expensive request from each client; the server may close slow ones."""

    def attack(clients: list[Client], stop: threading.Event) -> None:
        for client in clients:
            client.send_bytes(data)
        for client in clients:
            with suppress(ConnectionError):
                assert client.answer(keep=True).prediction == 31

    return attack


ATTACKS: dict[
    str, tuple[int, int, Attack]
] = {  # number of clients in the short and in the long test
    "slow headers": (10, 200, drip(b"GET /" + b"a" * 10_000)),
    "slow bodies": (10, 200, drip(HEAD + b"Content-Length: 9999\r\n\r\n" + b" " * 9000)),
    "slow chunks": (
        20,
        200,
        drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 999),
    ),
    "requests byte by byte": (10, 200, drip(WHOLE * 9)),
    "one-byte chunks": (2, 4, send_whole(one_byte_chunks(20_000))),
    "clients that never read": (5, 40, never_read),
    "idle clients": (100, 5_000, do_nothing),
}


@contextmanager
def under(attack: Attack, clients: list[Client]) -> Iterator[None]:
    """Run an attack in a thread during the block; its exceptions fail the test."""
    stop, failures = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            attack(clients, stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failures, failures


def sockets(server: Server) -> int:
    """Return the number of open sockets of the server."""
    found = 0
    for file in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found += str(file.readlink()).startswith("socket:")
    return found


def memory(server: Server) -> float:
    """Return the memory of the server in MiB."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def assert_all_are_closed(server: Server, clients: list[Client], before: int) -> None:
    """The server closes every connection when its time limit is over, though the clients stay."""
    wait_until(
        lambda: sockets(server) <= before, within=TIME_LIMIT_S * 5, what="all connections closed"
    )
    for client in clients:
        with suppress(ConnectionError):
            while client.socket.recv(2**20):
                pass
        client.close()


def waits_beside(server: Server, attacks: list[tuple[int, Attack]], asks: int) -> list[float]:
    """Return the latencies of another client during the attacks, in seconds.

    The connections of the attackers must be closed by the server.
    """
    before = sockets(server)
    waits, attackers = [], list[Client]()
    with ExitStack() as stack:
        for number, attack in attacks:
            clients = [server.connect() for _ in range(number)]
            attackers += clients
            stack.enter_context(under(attack, clients))
        other = server.connect()
        for n in range(asks):
            answer = other.send([n]).answer(keep=True)
            assert answer.prediction == 3 * n + 1
            waits.append(answer.seconds)
        other.close()
    assert_all_are_closed(server, attackers, before)
    assert "Traceback" not in server.stderr
    return waits


@pytest.mark.parametrize("transport", ["llhttp", "tornado"])
def test_attacking_clients_are_disconnected_at_time_limits_and_others_answered(
    start: Start, transport: str
) -> None:
    server = start(*LIMITS, "--http.transport", transport)
    waits_beside(server, [(number, attack) for number, _, attack in ATTACKS.values()], asks=100)


LONG = {**ATTACKS, "one-byte chunks": (2, 1, send_whole(one_byte_chunks(1_000_000)))}
MOVED_BY = 0.1  # seconds
COMES_BACK = 48  # MiB that the allocator may keep
TRIES = 3  # other processes may disturb the measurement


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "transport",
    [
        pytest.param("llhttp", marks=pytest.mark.torture),
        pytest.param("tornado", marks=pytest.mark.torture_full),
    ],
)
@pytest.mark.parametrize("name", LONG)
def test_attacks_do_not_delay_others_and_memory_is_released(
    start: Start, transport: str, name: str
) -> None:
    server = start(*LIMITS, "--http.transport", transport)
    _, number, attack = LONG[name]
    before = memory(server)
    seen = []
    for _ in range(TRIES):
        quiet = p99(waits_beside(server, [], asks=1000))
        loud = p99(waits_beside(server, [(number, attack)], asks=1000))
        seen.append((quiet, loud))
        if loud - quiet < MOVED_BY:
            break
    print(
        f"{name}, {transport}: p99 without and with them {seen}, {before:.0f} MiB before, "
        f"{memory(server):.0f} after"
    )
    assert seen[-1][1] - seen[-1][0] < MOVED_BY, seen
    assert memory(server) < before + COMES_BACK


def p99(waits: list[float]) -> float:
    return statistics.quantiles(waits, n=100)[98]
