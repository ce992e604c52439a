"""Behind a real nginx and a real haproxy, each with the configuration of docs/operations.md."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import Start
from tests.process.harness import CHECKOUT, Child, Client, Server, free_port, wait_until

pytestmark = pytest.mark.process

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
HAPROXY = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
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

    def __init__(self, name: str, folder: Path, server: Server, change: Callable[[str], str]):
        self.port = free_port()
        folder.parent.mkdir(parents=True, exist_ok=True)
        text = change(documented(name)).replace("127.0.0.1:8888", f"127.0.0.1:{server.port}")
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


@pytest.fixture(params=[pytest.param(name, marks=marks) for name, marks in NEEDS.items()])
def proxy(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def behind(proxy: str, start: Start, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A function that starts a server behind the proxy; returns both."""
    running: list[Proxy] = []

    def behind(
        *arguments: str, change: Callable[[str], str] = lambda text: text
    ) -> tuple[Server, Proxy]:
        root = ["--http.root_path", "/ml", "--http.trusted_proxies", "127.0.0.1"]
        server = start(*root, "--logging.format", "json", *arguments)
        running.append(Proxy(proxy, tmp_path / f"proxy-{len(running)}", server, change))
        return server, running[-1]

    yield behind
    for each in running:
        each.__exit__()


def access_lines(server: Server) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.stderr.splitlines()]
    return [line for line in lines if line["logger"] == "server.access"]


@pytest.mark.parametrize("transport", ["llhttp", "tornado"])
def test_a_prediction_and_its_log_line(behind: Any, proxy: str, transport: str) -> None:
    server, front = behind("--http.transport", transport)
    spoofed = {"X_Forwarded_For": SPOOFED, "traceparent": TRACE}
    answer = front.ask("/ml/predict", [10], **spoofed)

    assert answer.prediction == 31
    assert answer.headers["traceparent"] == TRACE
    wait_until(lambda: any(line["path"] == "/predict" for line in access_lines(server)))
    [line] = [line for line in access_lines(server) if line["path"] == "/predict"]
    assert line["client"] == CLIENT
    assert line["trace_id"] == TRACE[3:35]


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded"])
def test_no_client_can_pretend_to_be_another(behind: Any, header: str) -> None:
    server, front = behind()
    front.ask("/ml/predict", [10], **{header: f"for={SPOOFED}" if header[0] == "F" else SPOOFED})

    wait_until(lambda: any(line["path"] == "/predict" for line in access_lines(server)))
    assert SPOOFED not in server.stderr


def test_pages_and_documents_show_the_address_outside(behind: Any) -> None:
    _, front = behind()
    page = front.ask("/ml/", Accept="text/html").body.decode()
    document = front.ask("/ml/openapi.json").json

    assert 'href="/ml/docs"' in page
    assert "http://localhost/ml/predict" in page
    assert document["servers"] == [{"url": "http://localhost/ml"}]
    for link in set(re.findall(r'(?:href|src)="(/[^"]*)"', page)):
        assert front.ask(link).status == 200, link


def test_a_proxy_may_leave_the_prefix_in_place(behind: Any, proxy: str) -> None:
    def unstripped(text: str) -> str:
        """Return the configuration without the line, or the slash, that removes the prefix."""
        return re.sub(r"(proxy_pass http://\w+)/;|.*replace-path.*\n", r"\1;", text, count=1)

    _, front = behind(change=lambda text: unstripped(text).replace("\n;", "\n"))

    assert front.ask("/ml/predict", [10]).prediction == 31
    assert front.ask("/ml/v2/health/ready").status == 200


def test_events_arrive_one_by_one(behind: Any) -> None:
    _, front = behind()
    client = Client(front.port)
    client.send(path="/ml/events")
    received = b""
    while received.count(b"event: second") < 1:  # a proxy that buffered them would send none
        received += client.socket.recv(65536)
    client.close()


def test_the_service_drains_behind_the_proxy(behind: Any) -> None:
    server, front = behind()
    answers = [front.ask("/ml/predict", [n]) for n in range(3)]
    server.signal()
    answers.append(front.ask("/ml/predict", [3]))

    assert server.exit_code() == 0
    assert [answer.prediction for answer in answers] == [1, 4, 7, 10]
    assert front.is_running()
