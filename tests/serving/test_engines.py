"""A version is served with TensorFlow until another engine is known to be better."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from model.engines.choose import Choice, scored
from model.process import convert
from model.process.memory import Memory
from model.process.prepare import LoadRequest
from server.config import ModelSource
from server.serving import engine_cache
from tests.support.fake_process import Load, in_threads, write_choice
from tests.support.files import put
from tests.support.harness import SOON, FakeModel, Server, listening, over_http, with_settings

TIMINGS = scored({"tensorflow": {1: 0.004, 8: 0.008}, "onnx": {1: 0.001, 8: 0.002}})
ONNX = Choice("onnx", TIMINGS, {"openvino": "openvino is not installed: run `make engines`"})
STAYS = Choice("tensorflow", TIMINGS, {"onnx": "it answers otherwise than TensorFlow"})


class Conversions:
    """Answers what a test says, when it says so, in place of trying engines.

    Attributes:
        choice: what is chosen, or the error that is raised.
        requests: what was asked.
        loads: what was loaded.
    """

    def __init__(self) -> None:
        self.choice: Choice | Exception = ONNX
        self.requests: list[LoadRequest] = []
        self.loads: list[LoadRequest] = []
        self._gate = Event()

    def go(self) -> None:
        self._gate.set()

    async def asked(self) -> None:
        """Wait until engines are tried."""
        async with asyncio.timeout(SOON):
            while not self.requests:
                await asyncio.sleep(0.001)

    def try_engines(self, load: Load, request: LoadRequest) -> Choice:
        self.requests.append(request)
        assert self._gate.wait(SOON)
        if isinstance(self.choice, Exception):
            raise self.choice
        return write_choice(self.choice, request)

    def load(self, request: LoadRequest) -> FakeModel:
        self.loads.append(request)
        model = FakeModel()
        model.name = request.engine
        if request.converted:
            assert (Path(request.converted) / "model.onnx").read_text() == "converted"
        return model


@pytest.fixture(autouse=True)
def log_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server.serving")


@pytest.fixture
def conversions() -> Iterator[Conversions]:
    made = Conversions()
    yield made
    made.go()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "line.keras"
    path.write_text("a model")
    return path


@asynccontextmanager
async def serving(
    file: Path, conversions: Conversions, engine: Any = "auto", **more: Any
) -> AsyncIterator[Server]:
    settings = with_settings(model={"cache_dir": str(file.parent / "cache")})
    sources = (ModelSource(path=str(file), engine=engine, **more),)
    async with listening(replace(settings, models=sources)) as server:
        await server.service.start(in_threads(conversions.load, conversions.try_engines))
        yield server
        conversions.go()


async def computed_by(server: Server) -> str:
    response = await server.predict([1])
    assert (response.status, response.json["prediction"]) == (200, 4)
    return response["X-Model-Engine"]


async def logged(server: Server, text: str) -> logging.LogRecord:
    async with asyncio.timeout(SOON):
        while True:
            for record in server.logs.records:
                if text in record.getMessage():
                    return record
            await asyncio.sleep(0.001)


@over_http
async def test_tensorflow_serves_until_another_engine_is_ready(
    file: Path, conversions: Conversions
) -> None:
    async with serving(file, conversions) as server:
        before = await computed_by(server)
        conversions.go()
        await logged(server, "line: onnx computes version 1 from now on")
        after = await computed_by(server)
        metrics = (await server.ask("GET", "/metrics")).body.decode()
        about = (await server.ask("GET", "/v2/models/line")).json["parameters"]
        page = (await server.ask("GET", "/", {"Accept": "text/html"})).body.decode()

    assert (before, after) == ("tensorflow", "onnx")
    assert 'predict_model_info{engine="onnx"' in metrics
    assert about == {
        "engine": "onnx",
        "engine_milliseconds": {
            "tensorflow": {"1": 4.0, "8": 8.0},
            "onnx": {"1": 1.0, "8": 2.0},
        },
        "engines_not_taken": {"openvino": "openvino is not installed: run `make engines`"},
    }
    assert "computed by onnx" in page
    assert "openvino is not taken: openvino is not installed" in page


@over_http
async def test_no_request_is_lost_when_the_engine_changes(
    file: Path, conversions: Conversions
) -> None:
    over, seen = asyncio.Event(), []

    async def ask(server: Server) -> None:
        client = await server.connect()
        while not over.is_set():
            response = await client.predict([1])
            seen.append((response.status, response.json["prediction"], response["X-Model-Engine"]))

    async with serving(file, conversions) as server:
        clients = [asyncio.ensure_future(ask(server)) for _ in range(8)]
        for engine in ("tensorflow", "onnx"):
            async with asyncio.timeout(SOON):
                while sum(each[-1] == engine for each in seen) < 50:
                    await asyncio.sleep(0.001)
            conversions.go()
        over.set()
        await asyncio.gather(*clients)

    assert {*seen} == {(200, 4, "tensorflow"), (200, 4, "onnx")}


@over_http
async def test_why_tensorflow_stays_is_said(file: Path, conversions: Conversions) -> None:
    conversions.choice = STAYS
    conversions.go()
    async with serving(file, conversions) as server:
        record = await logged(server, "the engine onnx is not taken")
        engine = await computed_by(server)

    assert (engine, record.levelname) == ("tensorflow", "INFO")
    assert record.getMessage().endswith("it answers otherwise than TensorFlow")


@pytest.mark.logs_warnings
@over_http
async def test_an_engine_that_was_set_and_is_not_taken_is_a_warning(
    file: Path, conversions: Conversions
) -> None:
    conversions.choice = STAYS
    conversions.go()
    async with serving(file, conversions, "onnx") as server:
        server.expected_logs += ["is not taken"]
        record = await logged(server, "the engine onnx is not taken")

    assert record.levelname == "WARNING"
    [request] = conversions.requests
    assert request.conversion
    assert (request.conversion.engines, request.conversion.only) == (("onnx",), "onnx")


@pytest.mark.logs_warnings
@over_http
async def test_a_conversion_that_fails_leaves_the_version_serving(
    file: Path, conversions: Conversions
) -> None:
    conversions.choice = RuntimeError("no memory")
    conversions.go()
    async with serving(file, conversions) as server:
        server.expected_logs += ["stays with TensorFlow"]
        await logged(server, "line: stays with TensorFlow")
        engine = await computed_by(server)
        about = (await server.ask("GET", "/v2/models/line")).json["parameters"]

    assert engine == "tensorflow"
    assert "no memory" in about["engine_note"]


@over_http
async def test_nothing_is_tried_where_memory_would_not_suffice(
    file: Path, conversions: Conversions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "available", lambda _: 500 * 2**20)
    async with serving(file, conversions) as server:
        record = await logged(server, "stays with TensorFlow")

    assert "may take 600 MiB of memory, and 500 MiB are left" in record.getMessage()
    assert conversions.requests == []


@pytest.mark.parametrize("more", [{"engine": "tensorflow"}, {"keep_state": True}])
@pytest.mark.logs_warnings
@over_http
async def test_nothing_is_tried_where_only_tensorflow_will_do(
    file: Path, conversions: Conversions, more: dict[str, Any]
) -> None:
    async with serving(file, conversions, **more) as server:
        await computed_by(server)
        if "keep_state" in more:
            server.expected_logs += ["keeps state"]
            await logged(server, "stays with TensorFlow: the model keeps state")

    assert conversions.requests == []


@over_http
async def test_a_version_that_was_replaced_meanwhile_is_not_moved(
    file: Path, conversions: Conversions
) -> None:
    async with serving(file, conversions) as server:
        await computed_by(server)
        await conversions.asked()
        put(file, "another model")
        await server.service.repository.load("line")
        conversions.go()
        await logged(server, "line: onnx computes version 2 from now on")
        versions = list(server.service.repository.slots["line"].versions)

    assert versions == ["2"]
    assert not any("version 1 from now on" in r.getMessage() for r in server.logs.records)


@over_http
async def test_a_second_start_serves_with_the_chosen_engine_at_once(
    file: Path, conversions: Conversions
) -> None:
    conversions.go()
    async with serving(file, conversions) as server:
        await logged(server, "from now on")
    async with serving(file, conversions) as server:
        engine = await computed_by(server)

    assert engine == "onnx"
    assert len(conversions.requests) == 1
    assert [request.engine for request in conversions.loads] == ["tensorflow", "onnx", "onnx"]


@over_http
async def test_a_file_with_another_hash_than_pinned_is_loaded_itself_and_so_refused(
    file: Path, conversions: Conversions
) -> None:
    conversions.go()
    async with serving(file, conversions) as server:
        await logged(server, "from now on")
    async with serving(file, conversions, sha256="ab" * 32) as server:
        await computed_by(server)

    assert [request.engine for request in conversions.loads] == ["tensorflow", "onnx", "tensorflow"]


@over_http
async def test_that_tensorflow_is_best_is_remembered_too(
    file: Path, conversions: Conversions
) -> None:
    conversions.choice = STAYS
    conversions.go()
    async with serving(file, conversions) as server:
        await logged(server, "engine: tensorflow")
    async with serving(file, conversions) as server:
        await computed_by(server)

    assert len(conversions.requests) == 1


def cut_off(entry: Path) -> None:
    (entry / "onnx" / "model.onnx").write_text("conv")


def without_its_file(entry: Path) -> None:
    (entry / "onnx" / "model.onnx").unlink()


def no_json(entry: Path) -> None:
    (entry / "choice.json").write_text("{")


def another_json(entry: Path) -> None:
    (entry / "choice.json").write_text(json.dumps({"engine": ["onnx"], "timings": 7}))


@pytest.mark.logs_warnings
@pytest.mark.parametrize("damage", [cut_off, without_its_file, no_json, another_json])
@over_http
async def test_a_damaged_entry_is_made_anew(
    file: Path, conversions: Conversions, damage: Any
) -> None:
    conversions.go()
    async with serving(file, conversions) as server:
        await logged(server, "from now on")
    [entry] = (file.parent / "cache").iterdir()
    damage(entry)
    async with serving(file, conversions) as server:
        server.expected_logs += ["is damaged and made anew"]
        await logged(server, "from now on")

    assert len(conversions.requests) == 2
    assert convert.read(entry) == ONNX


@pytest.mark.parametrize("changed", ["file", "package", "threads", "engine"])
@over_http
async def test_an_entry_is_for_one_file_and_one_set_of_versions_and_settings(
    file: Path, conversions: Conversions, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversions.go()
    async with serving(file, conversions) as server:
        await logged(server, "from now on")
    more: dict[str, Any] = {}
    if changed == "file":
        put(file, "another model")
    elif changed == "package":
        monkeypatch.setattr(engine_cache, "version_of", lambda _: "0")
    elif changed == "threads":
        monkeypatch.setattr(engine_cache, "processor", lambda: "another")
    else:
        more = {"engine": "onnx"}
    async with serving(file, conversions, **more) as server:
        await logged(server, "from now on")

    assert len(conversions.requests) == 2


@over_http
async def test_where_no_cache_can_be_written_it_is_for_this_run(
    file: Path, conversions: Conversions
) -> None:
    (file.parent / "cache").write_text("a file is in the way")
    conversions.go()
    async with serving(file, conversions) as server:
        await logged(server, "the cache is for this run alone")
        await logged(server, "from now on")


def test_a_user_without_a_home_has_no_cache_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", no_home)
    request = LoadRequest("m.keras")

    assert engine_cache.EngineCache("").find("m.keras", request, "auto") is None


@over_http
async def test_a_shutdown_does_not_wait_for_a_conversion(
    file: Path, conversions: Conversions
) -> None:
    async with serving(file, conversions) as server:
        await computed_by(server)
        await conversions.asked()
        await server.service.drain()

    assert [request.engine for request in conversions.loads] == ["tensorflow"]
