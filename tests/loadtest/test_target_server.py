"""What the load test asks a server before it starts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from server.loadtest.target_server import UnusableServer, describe_server, fetch_document, target_of

METRICS = b'predict_model_info{model="iris",version="3",max_rows="64"} 1.0\n'


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Serve the same answer to every GET; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Do not log requests to stderr."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "status, body, reason",
    [(200, b"<html>", "/openapi.json is not JSON"), (404, b"{}", "answered 404 Not Found")],
)
def test_an_unusable_document_is_reported_with_the_reason(status, body, reason):
    with answering(status, body) as url, pytest.raises(UnusableServer, match=reason):
        fetch_document(target_of(url, "/openapi.json"))


def test_an_unreachable_server_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    with pytest.raises(UnusableServer, match=r"/openapi\.json cannot be reached"):
        fetch_document(target_of(url, "/openapi.json"))


def test_a_server_is_described_by_its_document_and_metrics():
    document = {"info": {"title": "Iris", "version": "3"}}
    with answering(200, METRICS) as url:
        assert describe_server(url, document) == {
            "API": "Iris 3",
            "model iris": "version 3, up to 64 rows per call",
        }


@pytest.mark.parametrize("document", [None, [], {}, {"info": {"title": ""}}])
def test_a_server_that_publishes_nothing_has_no_description(document):
    with answering(404, b"") as url:
        assert describe_server(url, document) == {}
