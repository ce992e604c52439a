"""Three services on three addresses of this machine, behind a real haproxy that asks for readiness.

Under load, one is drained, one is killed, and all are replaced by a new version one by one.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import StartLoad
from tests.process.harness import (
    FAKE,
    FAKE_SETTINGS,
    Child,
    Client,
    Gate,
    free_port,
    wait_until,
)

HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
pytestmark = [
    pytest.mark.process,
    pytest.mark.torture,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not HAPROXY, reason="haproxy is not installed: apt-get install haproxy"),
]
ADDRESSES = {"one": "127.0.0.1", "two": "127.0.0.2", "three": "127.0.0.3"}
AT_ONCE = 16  # requests that a node computes when it is killed, at least
TRANSPORTS = ["llhttp", "tornado"]
CONNECTIONS = 64
RATE = 200  # requests a second
PATIENCE = 200.0  # seconds for whatever a busy machine has to do
CALL_S = "0.02"

# A request may be sent to another node as long as nothing of its answer has arrived.
RETRY = "retry-on all-retryable-errors"
CONFIG = """
global
    stats socket {folder}/stats.sock
defaults
    mode http
    log stdout format raw local0
    option httplog
    timeout connect 5s
    timeout check 30s  # a late answer on a busy machine is an answer
    timeout client 60s
    timeout server 60s
    timeout queue 60s
    retries 3
    option redispatch 1
    {retry}
frontend outside
    bind 127.0.0.1:{port}
    use_backend keras
backend keras
    balance roundrobin
    option httpchk GET /v2/health/ready
    default-server check inter 200ms fall 1 rise 1 observe layer4 error-limit 1 on-error mark-down
{servers}
"""


class Node(Child):
    """The service on an address of its own, with a fake model."""

    def __init__(self, address: str, port: int, folder: Path, transport: str, version: str) -> None:
        self.address, self.port = address, port
        self.gate = Gate(folder / "gate")
        environ = {"FAKE_FOLDER": str(folder), "FAKE_SECONDS": CALL_S, **FAKE_SETTINGS}
        settings = {
            "http.host": address,
            "http.port": str(port),
            "http.transport": transport,
            "http.drain_grace_ms": "2000",
            "model.version": version,
        }
        flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
        super().__init__([*FAKE, *flags], folder, environ=environ)


class Proxy(Child):
    """A haproxy in front of the nodes."""

    def __init__(self, nodes: dict[str, Node], folder: Path, retry: str) -> None:
        self.port = free_port()
        servers = [f"    server {name} {n.address}:{n.port}" for name, n in nodes.items()]
        text = CONFIG.format(
            folder=folder,
            port=self.port,
            retry=retry,
            servers="\n".join(servers),
        )
        file = folder.with_suffix(".conf")
        file.write_text(text)
        super().__init__([HAPROXY or "haproxy", "-db", "-f", str(file)], folder)

    def state(self, node: str) -> dict[str, str]:
        """Return what the proxy knows of a node: `status`, `scur` (requests there now) and more."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.folder / "stats.sock"))
            connection.sendall(b"show stat\n")
            text = connection.makefile().read().removeprefix("# ")
        [row] = [row for row in csv.DictReader(text.splitlines()) if row["svname"] == node]
        return row

    def number(self, what: str, node: str) -> int:
        return int(self.state(node)[what] or 0)

    def failed_on(self) -> set[str]:
        """Return the nodes that left a request without an answer, or answered with 500 or more."""
        kinds = ("econ", "eresp", "hrsp_5xx")
        return {name for name in ADDRESSES for kind in kinds if self.number(kind, name)}

    def until(self, node: str, status: str) -> None:
        """Wait until the proxy knows that a node is UP, or DOWN."""

        def is_there() -> bool:
            try:
                return self.state(node)["status"].startswith(status)
            except OSError:  # the proxy starts
                return False

        wait_until(is_there, within=PATIENCE, what=f"{node}: {status}")

    def versions(self) -> set[str]:
        """Return the versions of the model that answer now, asked once on each node."""
        found = set()
        for _ in range(4 * len(ADDRESSES)):
            answer = Client(self.port).send([1]).answer()
            assert answer.prediction == 4
            found.add(answer.headers["X-Model-Version"])
        return found


class Cluster:
    """Three nodes and a proxy."""

    def __init__(self, folder: Path, transport: str, retry: str, stack: ExitStack) -> None:
        self._folder, self._transport, self._stack = folder, transport, stack
        self._port = free_port()
        self._started = 0
        self.nodes = {name: self._new(name, "1") for name in ADDRESSES}
        self.proxy = stack.enter_context(Proxy(self.nodes, folder / "proxy", retry))
        for name in self.nodes:
            self.proxy.until(name, "UP")

    def _new(self, name: str, version: str) -> Node:
        self._started += 1
        folder = self._folder / f"{name}-{self._started}"
        node = Node(ADDRESSES[name], self._port, folder, self._transport, version)
        return self._stack.enter_context(node)

    def start(self, name: str, version: str) -> None:
        """Start a new service in the place of one that has ended; wait until it gets requests."""
        self.nodes[name] = self._new(name, version)
        self.proxy.until(name, "UP")
        before = self.proxy.number("stot", name)
        wait_until(lambda: self.proxy.number("stot", name) > before + 20, PATIENCE, "requests")

    def drain(self, name: str) -> None:
        """End a service as Kubernetes does, and wait until it has."""
        self.nodes[name].signal(signal.SIGTERM)
        assert self.nodes[name].exit_code(PATIENCE) == 0


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Load:
    """Requests to the proxy, at a constant rate."""

    def __init__(self, cluster: Cluster, start_load: StartLoad) -> None:
        self._proxy = cluster.proxy
        words = ("--connections", str(CONNECTIONS), "--rate", str(RATE), "--duration", "200")
        self._load = start_load(cluster.proxy, *words, "--expect", "200,502")  # type: ignore[arg-type]  # it has a port
        self.more()

    def more(self) -> None:
        """Wait for another hundred answers."""
        before = len(self._proxy.stdout.splitlines())

        def has_more() -> bool:
            assert self._load.is_running(), self._load.stderr + self._load.stdout
            return len(self._proxy.stdout.splitlines()) > before + 100

        wait_until(has_more, within=PATIENCE, what="answers")

    def end(self) -> dict[str, Any]:
        """Send nothing more, wait for all answers, and return the figures."""
        assert self._load.is_running(), self._load.stderr
        self._load.signal(signal.SIGINT)
        figures = self._load.figures(PATIENCE)
        shown = ("answered", "statuses", "lost_by_reason", "connections_opened")
        print({name: figures[name] for name in shown})
        return figures


def lost(figures: dict[str, Any]) -> int:
    """Return how many requests got no answer of the service."""
    without: int = figures["lost"]
    return without + sum(n for status, n in figures["statuses"].items() if status != "200")


def test_a_node_that_is_drained_loses_nothing(
    tmp_path: Path, start_load: StartLoad, stack: ExitStack, transport: str
) -> None:
    cluster = Cluster(tmp_path, transport, "", stack)
    load = Load(cluster, start_load)
    cluster.drain("two")
    load.more()
    figures = load.end()

    assert lost(figures) == 0, figures["statuses"]
    assert cluster.proxy.state("two")["status"] == "DOWN"


def test_a_new_version_on_one_node_after_the_other_loses_nothing(
    tmp_path: Path, start_load: StartLoad, stack: ExitStack, transport: str
) -> None:
    cluster = Cluster(tmp_path, transport, "", stack)
    assert cluster.proxy.versions() == {"1"}
    load = Load(cluster, start_load)
    for name in ADDRESSES:
        cluster.drain(name)
        cluster.start(name, version="2")
    load.more()
    figures = load.end()

    assert lost(figures) == 0, figures["statuses"]
    assert cluster.proxy.versions() == {"2"}


@pytest.mark.parametrize("retry", ["", RETRY], ids=["no retry", "retry"])
def test_a_node_that_is_killed_loses_at_most_what_it_was_computing(
    tmp_path: Path, start_load: StartLoad, stack: ExitStack, transport: str, retry: str
) -> None:
    """Its model is blocked until it has requests to answer, so that there is something to lose."""
    cluster = Cluster(tmp_path, transport, retry, stack)
    load = Load(cluster, start_load)
    victim = cluster.nodes["two"]
    victim.gate.hold()
    wait_until(lambda: cluster.proxy.number("scur", "two") >= AT_ONCE, PATIENCE, "requests")
    victim.signal(signal.SIGKILL)
    cluster.proxy.until("two", "DOWN")
    victim.gate.release()
    load.more()
    cluster.start("two", version="1")
    load.more()
    figures = load.end()

    if retry:
        assert lost(figures) == 0, figures["statuses"]
    else:
        assert AT_ONCE <= lost(figures) <= CONNECTIONS
    assert cluster.proxy.failed_on() == {"two"}
