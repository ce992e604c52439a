"""A model process that ends: started again, called again, given up. Fakes, and no processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from model.formats.files import ModelError
from model.process.prepare import LoadRequest
from server.config import Settings
from server.serving.process_start import Ended
from tests.http.test_http import assert_plain_error, assert_problem
from tests.support.fake_process import FakeProcess
from tests.support.files import put
from tests.support.harness import SOON, FakeModel, Response, Server, listening, over_http
from tests.support.harness import with_settings as settings_with

KILLED = Ended("killed", "the model process was killed")

pytestmark = pytest.mark.logs_warnings


class Processes:
    """Starts processes, each with a FakeModel of its own, and ends them.

    Attributes:
        all: every process so far, and its model, in order.
        began: when each was started, by the loop's clock.
        deadly: rows that end the process in whose call they are.
        deadly_once: rows that do so the first time only.
        fail: what loading raises.
    """

    def __init__(self) -> None:
        self.all: list[tuple[FakeProcess, FakeModel]] = []
        self.began: list[float] = []
        self.requests: list[LoadRequest] = []
        self.deadly: set[float] = set()
        self.deadly_once: set[float] = set()
        self.fail: Exception | None = None
        self.refuse = False

    def __call__(self, name: str) -> FakeProcess:
        if self.refuse:
            raise OSError("Resource temporarily unavailable")
        model = FakeModel()
        loop = asyncio.get_running_loop()

        def load(request: LoadRequest) -> FakeModel:
            self.requests.append(request)
            if self.fail:
                raise self.fail
            return model

        process = FakeProcess(name, load)

        def spoil(y: Any) -> Any:
            rows = set(((y - 1) / 3).ravel().tolist())
            if rows & (self.deadly | self.deadly_once):
                self.deadly_once -= rows
                loop.call_soon_threadsafe(process.kill, *KILLED)
                asyncio.run_coroutine_threadsafe(settled(process), loop).result(SOON)
            return y

        model.spoil = spoil
        self.all.append((process, model))
        self.began.append(loop.time())
        return process

    @property
    def last(self) -> FakeProcess:
        return self.all[-1][0]

    @property
    def model(self) -> FakeModel:
        return self.all[-1][1]

    def kill(self) -> None:
        self.last.kill(*KILLED)

    async def until(self, count: int) -> None:
        """Wait until so many were started and the last one is loaded."""
        await until(lambda: len(self.all) >= count and self.last.step == "")


async def settled(process: FakeProcess) -> None:
    await asyncio.wait([process.ended])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(
    settings: Settings | None = None, logs: tuple[str, ...] = ("starting it again",)
) -> AsyncIterator[tuple[Server, Processes]]:
    processes = Processes()
    async with listening(settings, expected_logs=logs) as server:
        await server.service.start(processes)
        for _, model in processes.all:
            model.batches.clear()  # the calls for the examples of the documentation
        try:
            yield server, processes
        finally:
            for _, model in processes.all:
                model.release()


def predictions(answers: list[Response]) -> list[Any]:
    """Return the predictions; of what has none, the status."""
    return [a.json["prediction"] if a.status == 200 else a.status for a in answers]


def restarts(server: Server) -> dict[str, int]:
    return {reason: n for (_, reason), n in server.service.counts.restarts.items()}


@over_http
async def test_a_process_that_ends_while_nobody_asks_is_started_again() -> None:
    async with serving() as (server, processes):
        processes.kill()
        await processes.until(2)
        answer = await server.predict([1])

        assert answer.json == {"prediction": 4.0}
        assert restarts(server) == {"killed": 1}
        first, again = processes.requests
        assert (first.is_restart, again.is_restart) == (False, True)
        assert again.max_rows == 64


@over_http
async def test_requests_of_an_interrupted_call_are_called_again_each_alone() -> None:
    async with serving() as (server, processes):
        first = processes.model
        first.hold()
        asking = [asyncio.ensure_future(server.predict([0]))]
        await first.called()
        asking += [asyncio.ensure_future(server.predict([n])) for n in (1, 2, 3)]
        await server.waiting(3)
        processes.deadly_once = {2.0}
        first.release()
        answers = await asyncio.gather(*asking)

        assert predictions(answers) == [1, 4, 7, 10]
        assert sorted(first.batches[1]) == [1, 2, 3]
        assert sorted(processes.model.batches[-3:]) == [[1], [2], [3]]


@over_http
async def test_who_ends_the_process_twice_fails_and_neighbours_are_answered() -> None:
    logs = ("starting it again", "the model failed on 1 request(s)", "the model failed")
    async with serving(logs=logs) as (server, processes):
        processes.model.hold()
        first = asyncio.ensure_future(server.predict([0]))
        await processes.model.called()
        processes.deadly = {5.0}
        asking = [asyncio.ensure_future(server.predict([n])) for n in range(8)]
        await server.waiting(8)
        processes.model.release()

        expected = [3.0 * n + 1 if n != 5 else 500 for n in range(8)]
        assert predictions(await asyncio.gather(*asking)) == expected
        assert (await first).json == {"prediction": 1.0}
        assert restarts(server) == {"killed": 2}
        assert server.service.counts.isolated_failures == 1
        assert (await server.ask("GET", "/v2/health/ready")).status == 200


@over_http
async def test_pauses_between_attempts_grow_until_the_model_is_given_up() -> None:
    logs = ("starting it again", "was given up")
    async with serving(logs=logs) as (server, processes):
        processes.fail = ModelError("m.keras", "cannot be read")
        processes.kill()
        await until(lambda: server.service.model.failure)
        pauses = [b - a for a, b in pairwise(processes.began[1:])]

        assert len(processes.all) == 5  # the first, and four more: then it has ended five times
        least = [0.1, 0.2, 0.4]  # seconds; a busy machine makes them longer
        assert all(a >= 0.95 * b for a, b in zip(pauses, least, strict=True)), pauses
        assert restarts(server) == {"killed": 1, "load_failed": 4}


@over_http
async def test_a_model_that_is_given_up_says_why_until_it_is_loaded_again(tmp_path: Path) -> None:
    settings = settings_with(model={"max_restarts": 2})
    logs = ("starting it again", "was given up")
    async with serving(settings, logs) as (server, processes):
        name = server.service.model.name
        processes.fail = ModelError("m.keras", "cannot be read")
        processes.kill()
        await until(lambda: server.service.model.failure)
        ready = await server.ask("GET", "/v2/health/ready")
        assert "m.keras: cannot be read" in assert_plain_error(ready, 503)
        answer = await server.ask("GET", f"/v2/models/{name}/ready")
        assert answer.status == 503
        assert "m.keras: cannot be read" in answer.json["error"]
        prediction = await server.predict([1])
        assert_problem(prediction, 503, "model-unavailable")
        assert "m.keras: cannot be read, 2 times without" in prediction.json["detail"]
        [line] = (await server.ask("POST", "/v2/repository/index")).json
        assert line["state"] == "UNAVAILABLE"
        assert "cannot be read" in line["reason"]
        status = (await server.ask("GET", f"/v1/models/{name}")).json["model_version_status"]
        assert [each["state"] for each in status] == ["END"]
        assert (await server.ask("GET", "/v2/health/live")).status == 200

        processes.fail = None
        await server.service.repository.load(name)
        assert (await server.predict([1])).json == {"prediction": 4.0}
        assert (await server.ask("GET", "/v2/health/ready")).status == 200


@over_http
async def test_a_state_is_told_while_a_process_is_started_again() -> None:
    async with serving() as (server, processes):
        processes.refuse = True
        processes.kill()
        await until(lambda: server.service.model.step)
        [line] = (await server.ask("POST", "/v2/repository/index")).json
        only_ready = await server.ask("POST", "/v2/repository/index", body=b'{"ready": true}')
        ready = await server.ask("GET", "/v2/health/ready")
        page = (await server.ask("GET", "/", {"Accept": "text/html"})).body.decode()

        assert (line["state"], only_ready.json) == ("LOADING", [])
        assert "is being started again" in line["reason"]
        assert "is being started again" in assert_plain_error(ready, 503)
        assert "not ready: The process of the model my_best_model is being started again" in page
        server.expected_logs.append("no process can be started: Resource temporarily unavailable")


@over_http
async def test_an_answer_in_between_begins_a_new_count() -> None:
    settings = settings_with(model={"max_restarts": 2})
    async with serving(settings) as (server, processes):
        for number in range(1, 5):
            processes.kill()
            await processes.until(number + 1)
            assert (await server.predict([1])).status == 200

        assert not server.service.model.failure


@over_http
async def test_a_model_that_keeps_state_is_not_called_again() -> None:
    settings = settings_with(model={"keep_state": True})
    logs = ("starting it again", "all clients share it")
    async with serving(settings, logs) as (server, processes):
        first = processes.model
        first.hold()
        asking = asyncio.ensure_future(server.predict([1]))
        await first.called()
        processes.kill()
        answer = await asking
        first.release()
        await processes.until(2)

        assert_problem(answer, 503, "model-unavailable")
        assert "the call was not made again" in answer.json["detail"]
        assert (await server.predict([1])).json == {"prediction": 4.0}


@over_http
async def test_a_deadline_and_a_client_that_leaves_while_it_is_started_again() -> None:
    async with serving() as (server, processes):
        processes.refuse = True
        processes.kill()
        await until(lambda: server.service.model.step)
        client = await server.connect()
        leaving = asyncio.ensure_future(client.predict([5]))
        await server.waiting(1)
        late = await server.predict([6], {"X-Request-Timeout-Ms": "50"})
        leaving.cancel()
        client.close()
        await server.waiting(0)

        assert_problem(late, 504, "deadline-exceeded")
        server.expected_logs.append("no process can be started")


@over_http
async def test_draining_waits_for_a_process_that_is_started_again() -> None:
    async with serving() as (server, processes):
        first = processes.model
        first.hold()
        asking = asyncio.ensure_future(server.predict([1]))
        await first.called()
        processes.kill()
        draining = asyncio.ensure_future(server.service.drain())
        first.release()

        assert (await asking).json == {"prediction": 4.0}
        await asyncio.wait_for(draining, SOON)


# What is loaded again


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "line.keras"
    path.write_text("10")
    return path


def serving_file(file: Path, *logs: str) -> Any:
    settings = settings_with()
    model = replace(settings.model, path=str(file))
    return serving(replace(settings, model=model), logs)


@over_http
async def test_a_process_is_started_again_with_what_it_was_loaded_from(file: Path) -> None:
    """Another file lies there by now, which nobody has asked to be loaded."""
    async with serving_file(file, "starting it again") as (_, processes):
        put(file, "20")
        processes.kill()
        await processes.until(2)

        first, again = processes.requests
        assert first.path == str(file)
        assert Path(again.path).read_text() == "10"
        assert again.shown_path == str(file)


@over_http
async def test_a_file_that_was_overwritten_in_place_is_not_loaded_again(file: Path) -> None:
    async with serving_file(file, "was given up") as (server, processes):
        file.write_text("20 and more")
        processes.kill()
        await until(lambda: server.service.model.failure)

        assert f"{file} was overwritten in place" in server.service.model.failure
        await server.service.repository.load("line")
        assert (await server.predict([1])).status == 200


# Replicas


@over_http
async def test_one_replica_ends_and_the_others_go_on() -> None:
    settings = settings_with(model={"replicas": 2})
    async with serving(settings) as (server, processes):
        (first, _), (_, other) = processes.all
        processes.refuse = True
        first.kill(*KILLED)
        await until(lambda: server.service.model.replicas[0].step)
        answers = [await server.predict([n]) for n in range(5)]

        assert predictions(answers) == [3 * n + 1 for n in range(5)]
        assert other.rows[-5:] == [0, 1, 2, 3, 4]
        assert (await server.ask("GET", "/v2/health/ready")).status == 200
        server.expected_logs.append("no process can be started")


@over_http
async def test_only_when_all_replicas_are_given_up_requests_are_rejected() -> None:
    settings = settings_with(model={"replicas": 2, "max_restarts": 1})
    async with serving(settings, ("was given up",)) as (server, processes):
        (first, _), (second, _) = processes.all
        first.kill(*KILLED)
        await until(lambda: server.service.model.replicas[0].failure)
        answers = [await server.predict([n]) for n in range(5)]
        assert predictions(answers) == [3 * n + 1 for n in range(5)]
        second.kill(*KILLED)
        await until(lambda: server.service.model.failure)

        assert_problem(await server.predict([1]), 503, "model-unavailable")
