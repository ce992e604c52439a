"""Reloading real models in a real server, under load, without a memory leak."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import REAL, Server, wait_until
from tests.process.questions import QUESTIONS

pytestmark = [pytest.mark.process, pytest.mark.keras]

KEY = "a-key-for-tests"
MIB = 2**20


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Models that multiply by 10 and by 20; two million more weights have no effect."""
    import keras

    def save(factor: float, path: Path) -> Path:
        x = keras.Input((1,), name="x")
        wide = keras.layers.Dense(1024, kernel_initializer="zeros", name="wide")(x)
        wide = keras.layers.Dense(2048, kernel_initializer="zeros", name="wider")(wide)
        y = keras.layers.Dense(
            1, kernel_initializer=keras.initializers.Constant(factor), name="line"
        )(x)
        zero = keras.layers.Dense(1, kernel_initializer="zeros", name="zero")(wide)
        keras.Model(x, keras.layers.Add(name="y")([y, zero])).save(path)
        return path

    folder = tmp_path_factory.mktemp("lines")
    return [save(factor, folder / f"{factor}.keras") for factor in (10, 20)]


def put(source: Path, target: Path) -> None:
    """Replace a file atomically."""
    new = target.with_suffix(".new")
    shutil.copyfile(source, new)
    new.replace(target)


class Clients:
    """Send the row [1] at a constant rate in all dialects, and record every answer.

    Attributes:
        seen: number of answers by version and prediction.
        asked: number of answers by dialect.
        broken: errors, and answers with other statuses.
    """

    def __init__(self, port: int, rate: float) -> None:
        self.seen: Counter[tuple[str, float]] = Counter()
        self.asked: Counter[str] = Counter()
        self.broken: list[object] = []
        self._port = port
        self._rate = rate
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(8)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        with closing(connection):
            self._ask_over(connection, number)

    def _ask_over(self, connection: http.client.HTTPConnection, number: int) -> None:
        interval = len(self._threads) / self._rate if self._rate else 0.0
        due = time.monotonic() + interval * number / 8
        dialects = cycle([*list(QUESTIONS)[number:], *list(QUESTIONS)[:number]])
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due += interval
            dialect = next(dialects)
            try:
                self._ask_one(connection, dialect)
            except Exception as error:
                self.broken.append(error)
                return

    def _ask_one(self, connection: http.client.HTTPConnection, dialect: str) -> None:
        question = QUESTIONS[dialect]
        headers = {**question.headers, "X-API-Key": KEY}
        connection.request("POST", question.path, question.body, headers)
        response = connection.getresponse()
        body = response.read()
        version = response.getheader("X-Model-Version", "")
        told = question.read(body, response.msg) if response.status == 200 else None
        if told is None or told.version not in (None, version):
            self.broken.append((dialect, response.status, version, body))
            return
        self.seen[version, told.value] += 1
        self.asked[dialect] += 1

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def asking(server: Server, rate: float) -> Iterator[Clients]:
    clients = Clients(server.port, rate)
    try:
        yield clients
    finally:
        clients.stop()


def load(server: Server, *, rollback: bool = False, status: int = 200) -> None:
    """Reload the model by the repository API."""
    body = json.dumps({"parameters": {"rollback": rollback}})
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("POST", "/v2/repository/models/line/load", body, {"X-API-Key": KEY})
        response = connection.getresponse()
        assert response.status == status, response.read()


@pytest.mark.torture
def test_a_file_with_another_hash_than_pinned_is_not_loaded_on_reload(
    start: Start, lines: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / "line.keras"
    put(lines[0], file)
    pin = hashlib.sha256(file.read_bytes()).hexdigest()
    flags = ("--auth.api_keys", KEY, "--batching.max_rows", "64", "--logging.access", "false")
    server = start(str(file), "--model.sha256", pin, *flags, command=REAL)
    with asking(server, rate=50) as clients:
        put(lines[1], file)
        load(server, status=400)
        server.signal(signal.SIGHUP)
        wait_until(
            lambda: server.stderr.count("version 1 stays") == 2, what="two rejected versions"
        )
        before = clients.seen["1", 10.0]
        wait_until(lambda: clients.seen["1", 10.0] > before + 5, what="answers of version 1")
    server.signal()

    assert server.exit_code() == 0
    assert f"its SHA-256 is {hashlib.sha256(file.read_bytes()).hexdigest()}" in server.stderr
    assert set(clients.seen) == {("1", 10.0)}
    assert not clients.broken


def memory_of(server: Server) -> float:
    """Return the resident memory of the process in MiB."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * 4096 / MIB


def version_of(server: Server) -> str:
    return server.get("/v2/health/ready").json["version"]


@pytest.fixture
def served(start: Start, lines: list[Path], tmp_path: Path) -> tuple[Server, Path]:
    """A server with the model that multiplies by 10, and the file of its model."""
    file = tmp_path / "line.keras"
    put(lines[0], file)
    flags = ("--auth.api_keys", KEY, "--batching.max_rows", "64", "--logging.access", "false")
    return start(str(file), *flags, command=REAL), file


@pytest.mark.torture
def test_sighup_replaces_the_model_under_load(
    served: tuple[Server, Path], lines: list[Path]
) -> None:
    server, file = served
    with asking(server, rate=50) as clients:
        wait_until(lambda: clients.seen["1", 10.0] > 20, what="answers of version 1")
        put(lines[1], file)
        server.signal(signal.SIGHUP)
        wait_until(lambda: clients.seen["2", 20.0] > 20, what="answers of version 2")
        file.write_bytes(b"broken")
        server.signal(signal.SIGHUP)
        server.until_logged("version 2 stays")
        load(server, rollback=True)
        before = clients.seen["1", 10.0]
        wait_until(lambda: clients.seen["1", 10.0] > before + 20, what="version 1 again")
    ready = server.get("/v2/health/ready").json
    metrics = server.get("/metrics").body.decode()
    server.signal()

    assert server.exit_code() == 0
    assert clients.broken == []
    assert set(clients.seen) == {("1", 10.0), ("2", 20.0)}
    assert set(clients.asked) == set(QUESTIONS)
    assert "is no zip archive" in server.stderr
    assert ready["version"] == "1"
    for outcome in ("loaded", "failed", "rolled_back"):
        assert f'predict_reloads_total{{outcome="{outcome}"}} 1.0' in metrics


@pytest.mark.parametrize(
    "reloads",
    [
        pytest.param(40, marks=[pytest.mark.torture, pytest.mark.timeout(600)]),
        pytest.param(200, marks=[pytest.mark.torture_full, pytest.mark.timeout(2400)]),
    ],
)
def test_the_main_process_does_not_grow_with_reloads(
    served: tuple[Server, Path], lines: list[Path], reloads: int
) -> None:
    """Under load; it is compared with its size after ten reloads."""
    server, file = served
    memory = []
    with asking(server, rate=200) as clients:
        for number in range(reloads):
            put(lines[(number + 1) % 2], file)
            load(server)
            memory.append(memory_of(server))
    print("MiB after 10, 20, … reloads:", [round(each, 1) for each in memory[9::10]])

    assert version_of(server) == str(reloads + 1)
    assert clients.broken == []
    assert set(clients.asked) == set(QUESTIONS)
    assert {value for _, value in clients.seen} == {10.0, 20.0}
    assert all(value == (20.0 if int(v) % 2 == 0 else 10.0) for v, value in clients.seen)
    assert memory[-1] - memory[9] < 5


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_twenty_reloads_in_a_minute_lose_no_request(
    served: tuple[Server, Path], lines: list[Path]
) -> None:
    server, file = served
    began = time.monotonic()
    with asking(server, rate=200) as clients:
        for number in range(21):
            if number == 10:
                file.write_bytes(b"broken")
                load(server, status=400)
            else:
                put(lines[(number + (number < 10)) % 2], file)
                load(server)
            while time.monotonic() - began < 60 * (number + 1) / 21:
                time.sleep(0.01)
    print(f"{clients.seen.total()} answers of {len(clients.seen)} versions: {clients.asked}")

    assert version_of(server) == "21"
    assert clients.broken == []
    assert clients.seen.total() > 11_000
    assert set(clients.asked) == set(QUESTIONS)
    assert all(value == (20.0 if int(v) % 2 == 0 else 10.0) for v, value in clients.seen)
