"""A real model changes its engine under load."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import REAL, Server, wait_until

pytestmark = [pytest.mark.process, pytest.mark.keras, pytest.mark.torture]

CONNECTIONS = 64
WITHIN = 600.0  # seconds; the conversion has the lowest priority


def ask(server: Server, over: threading.Event, seen: Counter[tuple[int, str, float]]) -> None:
    body = json.dumps({"data": [10]})
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as client:
        while not over.is_set():
            client.request("POST", "/predict", body, {"Content-Type": "application/json"})
            answer = client.getresponse()
            prediction = round(json.loads(answer.read())["prediction"], 2)
            seen[answer.status, answer.headers["X-Model-Engine"], prediction] += 1


@pytest.mark.timeout(900)
def test_no_request_is_lost_when_a_real_model_changes_its_engine(
    start: Start, example_model: Path, tmp_path: Path
) -> None:
    """And the next start serves with it at once, in a process without TensorFlow."""
    arguments = (str(example_model), "--model.engine", "auto", "--model.cache_dir", str(tmp_path))
    server = start(*arguments, "--logging.level", "info", command=REAL)
    over = threading.Event()
    counters = [Counter[tuple[int, str, float]]() for _ in range(CONNECTIONS)]
    clients = [threading.Thread(target=ask, args=[server, over, seen]) for seen in counters]
    for client in clients:
        client.start()
    try:
        wait_until(lambda: "from now on" in server.stderr, WITHIN, "another engine")
    finally:
        over.set()
        for client in clients:
            client.join()
    [choice] = tmp_path.glob("*/choice.json")
    engine = json.loads(choice.read_text())["engine"]
    seen = sum(counters, Counter[tuple[int, str, float]]())

    assert engine != "tensorflow"
    assert {status for status, _, _ in seen} == {200}
    assert len({prediction for _, _, prediction in seen}) == 1
    assert {name for _, name, _ in seen} <= {"tensorflow", engine}

    again = start(*arguments, command=REAL)
    assert again.post([10]).headers["X-Model-Engine"] == engine
    mapped = Path(f"/proc/{again.model_pid}/maps").read_text()
    assert ("tensorflow" in mapped) == (engine == "frozen")
