"""Rows of all lengths from many clients: every answer is the one to the row alone."""

from __future__ import annotations

import http.client
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.process.any_length_models import ANY_LENGTH, NEW_SIZES, Row
from tests.process.conftest import Start
from tests.process.harness import REAL, Client, Server, memory_of, wait_until
from tests.support.late import Late

pytestmark = [pytest.mark.process, pytest.mark.keras, pytest.mark.torture]

keras: Any = Late("keras")

CLIENTS = 64
DIFFERENT_ROWS = 400
MIB = 2**20


def served(start: Start, tmp_path: Path, make: Callable[[Any], Any]) -> Server:
    path = tmp_path / "m.keras"
    make(keras).save(path)
    return start(
        *(str(path), "--logging.access", "false", "--batching.max_queue_ms", "60000"),
        command=REAL,
        stdout=subprocess.DEVNULL,
    )


def ask(client: Client, data: Any) -> Any:
    """Return the prediction, or the status and the text of an error."""
    answer = client.send(data).answer(keep=True)
    return answer.prediction if answer.status == 200 else (answer.status, answer.body)


def is_equal(answer: Any, alone: np.ndarray, tolerance: float) -> bool:
    if isinstance(answer, tuple) or np.shape(answer) != alone.shape:
        return False
    scale = max(1e-6, np.abs(alone).max())
    return bool(np.abs(np.array(answer) - alone).max() <= tolerance * scale)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ANY_LENGTH)
def test_64_clients_get_the_answers_to_their_rows_alone(
    start: Start, tmp_path: Path, name: str
) -> None:
    kind = ANY_LENGTH[name]
    server = served(start, tmp_path, kind.make)
    wait_until(lambda: "ready" in server.stderr)  # which is logged last
    says = "rows of different lengths share a batch"
    assert (says in server.stderr) == kind.is_padded, server.stderr
    random = np.random.default_rng(0)
    rows = [kind.row(random) for _ in range(DIFFERENT_ROWS)]
    with closing(Client(server.port)) as first:
        alone = [np.array(ask(first, row), "float64") for row in rows]
    wrong: list[tuple[Row, Any]] = []
    answers = 0

    def client(number: int) -> None:
        nonlocal answers
        places = np.random.default_rng(number).integers(0, DIFFERENT_ROWS, kind.answers // CLIENTS)
        with closing(Client(server.port)) as own:
            for place in places:
                answer = ask(own, rows[place])
                answers += 1
                if not is_equal(answer, alone[place], kind.tolerance):
                    wrong.append((rows[place], answer))

    threads = [threading.Thread(target=client, args=[number]) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers >= kind.answers - CLIENTS
    assert wrong[:3] == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NEW_SIZES)
def test_memory_does_not_grow_with_ever_new_sizes(start: Start, tmp_path: Path, name: str) -> None:
    make, rows = NEW_SIZES[name]
    server = served(start, tmp_path, make)
    resident = {}
    sizes = np.random.default_rng(0).permutation(20_000)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)) as client:
        for count, size in enumerate(sizes, 1):
            kind, body = rows(int(size))
            client.request("POST", "/predict", body, {"Content-Type": kind})
            answer = client.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
            if count in {2_000, 20_000}:
                resident[count] = memory_of(server.process.pid) + memory_of(server.model_pid)
    assert resident[20_000] - resident[2_000] <= 16 * MIB, resident
