"""What the load test asks a server before it starts: its OpenAPI document and its metrics."""

from __future__ import annotations

import contextlib
import http.client
import re
from typing import Any

import orjson

from server.loadtest.client import Target

FETCH_TIMEOUT_S = 10.0  # of each GET
INFO = re.compile(r"^predict_model_info\{(.*)\}", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class UnusableServer(Exception):
    """The server cannot be reached, or publishes no usable document; the message is one line."""


def target_of(url: str, path: str) -> Target:
    """Return the target of requests; raises UnusableServer unless the URL is http://."""
    try:
        return Target.parse(url, path)
    except ValueError as error:
        raise UnusableServer(str(error)) from error


def fetch_document(target: Target) -> Any:
    """Return the server's OpenAPI document; raises UnusableServer."""
    address = f"http://{target.host}:{target.port}{target.path}"
    try:
        status, body = fetch(target)
    except (OSError, http.client.HTTPException) as error:
        raise UnusableServer(f"{address} cannot be reached: {error}") from error
    if status != 200:
        raise UnusableServer(f"{address} answered {status} {http.client.responses.get(status, '')}")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnusableServer(f"{address} is not JSON: {error}") from error


def fetch(target: Target) -> tuple[int, bytes]:
    """Return status and body of a GET; raises OSError or HTTPException."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=FETCH_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request("GET", target.path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def describe_server(url: str, document: Any) -> dict[str, str]:
    """Return the server's API and models by name, as far as it publishes them."""
    facts: dict[str, str] = {}
    about = document.get("info", {}) if isinstance(document, dict) else {}
    if about.get("title"):
        facts["API"] = f"{about['title']} {about.get('version', '')}".strip()
    with contextlib.suppress(OSError, http.client.HTTPException, UnusableServer):
        _, body = fetch(target_of(url, "/metrics"))
        for text in INFO.findall(body.decode(errors="replace")):
            labels = dict(LABEL.findall(text))
            facts[f"model {labels.get('model')}"] = (
                f"version {labels.get('version')}, up to {labels.get('max_rows')} rows per call"
            )
    return facts
