"""Asks a server for answers, and compares them with those of a direct call."""

from __future__ import annotations

import contextlib
import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from scripts.comparison.contestants import Contestant
from scripts.comparison.encodings import Encoding, answered, encoded
from scripts.comparison.networks.contestants import NetworkContestant
from scripts.comparison.networks.prepare import Prepared
from scripts.comparison.process import post
from scripts.comparison.venvs import Missing

ANSWER_WITHIN = 120.0  # seconds
TOLERANCE = 1e-4  # of the largest number of the answer
TRIED = "engine_milliseconds", "engine_note"  # one of them is there when `auto` has chosen


def request_of(contestant: Contestant, network: Prepared, row: int) -> tuple[str, Encoding]:
    """Return path, body and headers of a request with one row."""
    assert isinstance(contestant, NetworkContestant)
    is_triton = contestant.name == "triton"
    name = "x" if is_triton else network.input
    path = contestant.path.format(name=network.model.stem)
    return path, encoded(contestant.form, name, network.rows[row : row + 1])


def check(contestant: Contestant, port: int, network: Prepared) -> None:
    """Compare the answers to all rows, asked for at the same time.

    Raises OSError or HTTPException if the server is not ready, and Missing if an answer is wrong.
    """
    check_row(contestant, port, network, 0)
    rows = range(len(network.rows))
    with ThreadPoolExecutor(len(rows)) as threads:
        list(threads.map(lambda row: check_row(contestant, port, network, row), rows))


def check_row(contestant: Contestant, port: int, network: Prepared, row: int) -> None:
    """Compare the answer to one row."""
    path, request = request_of(contestant, network, row)
    answer = post(port, path, request.body, request.headers, answered, ANSWER_WITHIN)
    right = network.answers[row]
    off = np.abs(answer - right).max() if answer.shape == right.shape else np.inf
    if not off <= TOLERANCE * np.abs(right).max():
        raise Missing(f"the answer to row {row} is off by {off:.2g}")


def require_choice(port: int, name: str) -> None:
    """Raise OSError or HTTPException if `auto` has not chosen an engine yet."""
    if not any(each in about_engines(port, name) for each in TRIED):
        raise ConnectionError("the engine is not chosen yet")


def about_engines(port: int, name: str) -> dict[str, object]:
    """Return what this server says about engines; raises OSError or HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_WITHIN)
    with contextlib.closing(connection):
        connection.request("GET", f"/v2/models/{name}")
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != 200:
        raise ConnectionError(f"{answer.status}")
    about: dict[str, object] = json.loads(body).get("parameters", {})
    return about
