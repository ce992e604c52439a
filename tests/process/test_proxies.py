"""Behind a real nginx and a real haproxy, each with the configuration of docs/operations.md."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import Start
from tests.process.harness import CHECKOUT, Child, Client, Server, free_port, wait_until

pytestmark = pytest.mark.process

PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"  # users may not have it
NGINX = shutil.which("nginx", path=PATH)
HAPROXY = shutil.which("haproxy", path=PATH)
NEEDS = {
    "nginx": pytest.mark.skipif(
        not NGINX, reason="nginx is not installed: apt-get install nginx-light"
    ),
    "haproxy": pytest.mark.skipif(
        not HAPROXY, reason="haproxy is not installed: apt-get install haproxy"
    ),
}
DOCUMENTED = (CHECKOUT / "docs" / "operations.md").read_text()
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CLIENT = "127.0.0.1"
SPOOFED = "203.0.113.66"

# What surrounds the documented part, so that it runs without root and writes into its own folder.
NGINX_FRAME = """
daemon off;
worker_processes 1;
error_log stderr;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {documented}
}}
"""
HAPROXY_FRAME = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
{documented}
"""


def documented(language: str) -> str:
    """Return the configuration that docs/operations.md shows for a proxy."""
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENTED, re.DOTALL)
    assert found
    return found[1]


class Proxy(Child):
    """A proxy in front of a server."""

    def __init__(
        self, name: str, folder: Path, server: Server, change: tuple[str, str] = ("", "")
    ) -> None:
        """Start it with the documented configuration, a text in it replaced."""
        self.port = free_port()
        text = documented(name).replace("127.0.0.1:8888", f"127.0.0.1:{server.port}")
        text = text.replace(*change) if change[0] else text
        frame = {"nginx": NGINX_FRAME, "haproxy": HAPROXY_FRAME}[name]
        file = folder.with_suffix(".conf")
        here = re.sub(r"(listen|bind) [^;\n]*:?80\b", rf"\1 127.0.0.1:{self.port}", text)
        file.write_text(frame.format(folder=folder, documented=here))
        command = {
            "nginx": [NGINX or "nginx", "-p", str(folder), "-c", str(file)],
            "haproxy": [HAPROXY or "haproxy", "-db", "-f", str(file)],
        }[name]
        super().__init__(command, folder)
        wait_until(lambda: self._answers() or not self.is_running(), what=name)
        assert self.is_running(), self.stderr

    def _answers(self) -> bool:
        try:
            return self.ask("/ml/v2/health/live").status == 200
        except OSError:
            return False

    def ask(self, path: str, data: object = None, **headers: str) -> Any:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return Client(self.port).send(data, given, path=path).answer()


ARGUMENTS = ("--http.root_path", "/ml", "--http.trusted_proxies", "127.0.0.1")


@pytest.fixture(params=[pytest.param(name, marks=marks) for name, marks in NEEDS.items()])
def proxy(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that trusts the proxies, shared by the tests of this file."""
    folder = tmp_path_factory.mktemp("shared") / "server"
    with Server(folder, *ARGUMENTS, "--logging.format", "json") as server:
        yield server.until_ready()


@pytest.fixture
def front(proxy: str, server: Server, tmp_path: Path) -> Iterator[Proxy]:
    """The proxy, in front of the shared server."""
    with Proxy(proxy, tmp_path / "proxy", server) as front:
        yield front


def access_line(server: Server, request_id: str) -> dict[str, Any]:
    """Wait for the access line of a request."""

    def found() -> list[str]:
        return [line for line in server.stderr.splitlines() if f'"{request_id}"' in line]

    wait_until(found, what=f"the line of {request_id}")
    line: dict[str, Any] = json.loads(found()[0])
    return line


def test_a_prediction_and_its_log_line(front: Proxy, server: Server, proxy: str) -> None:
    headers = {"X_Request_ID": f"one-{proxy}", "traceparent": TRACE}
    answer = front.ask("/ml/predict", [10], **headers)

    assert answer.prediction == 31
    assert answer.headers["traceparent"] == TRACE
    line = access_line(server, f"one-{proxy}")
    assert (line["path"], line["client"]) == ("/predict", CLIENT)
    assert line["trace_id"] == TRACE[3:35]


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded"])
def test_no_client_can_pretend_to_be_another(
    front: Proxy, server: Server, proxy: str, header: str
) -> None:
    value = f"for={SPOOFED}" if header == "Forwarded" else SPOOFED
    front.ask("/ml/predict", [10], **{header: value, "X_Request_ID": f"{len(value)}-{proxy}"})

    assert access_line(server, f"{len(value)}-{proxy}")["client"] == CLIENT


def test_pages_and_documents_show_the_address_outside(front: Proxy) -> None:
    page = front.ask("/ml/", Accept="text/html", X_Forwarded_Prefix="/evil").body.decode()
    document = front.ask("/ml/openapi.json", X_Forwarded_Host="evil.example").json

    assert 'href="/ml/docs"' in page
    assert "http://localhost/ml/predict" in page
    assert document["servers"] == [{"url": "http://localhost/ml"}]
    for link in set(re.findall(r'(?:href|src)="(/[^"]*)"', page)):
        assert front.ask(link).status == 200, link


def test_a_proxy_may_leave_the_prefix_in_place(proxy: str, server: Server, tmp_path: Path) -> None:
    removes = {
        "nginx": ("http://keras/;", "http://keras;"),
        "haproxy": ("http-request replace-path", "#"),
    }[proxy]
    with Proxy(proxy, tmp_path / "proxy", server, removes) as front:
        assert front.ask("/ml/predict", [10]).prediction == 31
        assert front.ask("/ml/v2/health/ready").status == 200


def test_events_arrive_one_by_one(front: Proxy) -> None:
    client = Client(front.port)
    client.send(path="/ml/events")
    received = b""
    while b"event: second" not in received:  # a proxy that buffered them would send none
        received += client.socket.recv(65536)
    client.close()


def test_no_answer_is_lost_when_the_service_shuts_down(
    proxy: str, start: Start, tmp_path: Path
) -> None:
    server = start(*ARGUMENTS, "--http.drain_grace_ms", "3000")
    with Proxy(proxy, tmp_path / "proxy", server) as front:
        answers = [front.ask("/ml/predict", [n]) for n in range(3)]
        server.signal()
        answers.append(front.ask("/ml/predict", [3]))

        assert server.exit_code() == 0
        assert [answer.prediction for answer in answers] == [1, 4, 7, 10]
        assert front.is_running()
