"""A model that does not come back from a call is given up; whoever waits for it is answered."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.batching import ModelStuck
from server.serving.watched_thread import WatchedThread
from tests.support.files import serving_files
from tests.support.harness import (
    JSON,
    SOON,
    FakeModel,
    Response,
    Server,
    over_http,
    predict_bytes,
    serving,
    with_settings,
)

SHORT = 0.2


class Watch:
    """A thread with little patience, a call that goes on until it is released, and what it says."""

    def __init__(self, patience: float) -> None:
        self.told = asyncio.Event()
        self.release = threading.Event()
        self.thread = WatchedThread(patience, lambda _: self.told.set())

    def wait(self) -> str:
        """Be the model."""
        self.release.wait(SOON)
        return "back"


@asynccontextmanager
async def watching(patience: float) -> AsyncIterator[Watch]:
    watch = Watch(patience)
    try:
        yield watch
    finally:
        watch.release.set()
        watch.thread.stop()


@pytest.mark.gen_test
async def test_a_call_that_takes_too_long_is_given_up() -> None:
    async with watching(SHORT) as watch:
        began = asyncio.get_running_loop().time()
        with pytest.raises(ModelStuck, match=r"not come back from a call within 0\.2 s"):
            await watch.thread.serve(watch.wait)

        assert asyncio.get_running_loop().time() - began >= SHORT
        assert watch.told.is_set()
        with pytest.raises(ModelStuck):
            await watch.thread.serve(watch.wait)


@pytest.mark.gen_test
async def test_calls_that_come_back_are_not_added_up() -> None:
    async with watching(0.5) as watch:
        for _ in range(7):
            await watch.thread.serve(threading.Event().wait, 0.15)

        assert not watch.told.is_set()


@pytest.mark.gen_test
async def test_loading_may_take_as_long_as_it_likes() -> None:
    async with watching(SHORT) as watch:
        loading = watch.thread.call(watch.wait)
        await asyncio.sleep(3 * SHORT)  # the time in which nothing should happen
        watch.release.set()

        assert await loading == "back"
        assert not watch.thread.stuck


@pytest.mark.gen_test
async def test_patience_of_0_has_no_end() -> None:
    async with watching(0) as watch:
        call = asyncio.ensure_future(watch.thread.serve(watch.wait))
        await asyncio.sleep(0.1)
        watch.release.set()

        assert await call == "back"


@pytest.mark.gen_test
async def test_time_in_which_the_process_stood_still_does_not_count() -> None:
    """Blocking the loop is what SIGSTOP does to it."""
    async with watching(SHORT) as watch:
        call = asyncio.ensure_future(watch.thread.serve(watch.wait))
        await asyncio.sleep(SHORT / 4)
        threading.Event().wait(3 * SHORT)
        watch.release.set()

        assert await call == "back"


@pytest.mark.gen_test
async def test_how_long_a_call_goes_on_can_be_seen() -> None:
    async with watching(0) as watch:
        assert watch.thread.seconds == 0
        call = asyncio.ensure_future(watch.thread.serve(watch.wait))
        await asyncio.sleep(0.05)

        assert 0.04 <= watch.thread.seconds < SOON
        watch.release.set()
        await call
        assert watch.thread.seconds == 0


@pytest.mark.gen_test
@pytest.mark.skipif(
    "COVERAGE_RUN" in os.environ, reason="under coverage CPython 3.11 never leaves the block"
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # is the case
async def test_a_thread_that_dies_answers_nobody_and_leaves_nobody_waiting() -> None:
    """Whatever the patience; a dead thread is found with the next call."""
    async with watching(0) as watch:
        await watch.thread.call(threading.get_ident)
        kill(await watch.thread.call(threading.get_ident))
        with pytest.raises(ModelStuck, match="thread has ended"):
            async with asyncio.timeout(SOON):
                await watch.thread.serve(watch.wait)
        assert not watch.thread.is_alive()


def kill(thread_id: int) -> None:
    """Raise in a thread where nothing of its own would: the next time that it runs Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), ctypes.py_object(KeyboardInterrupt)
    )


# What is seen from outside.


@pytest.mark.logs_warnings
@over_http
async def test_a_stuck_model_turns_liveness_and_readiness_false_and_says_why() -> None:
    model = FakeModel()
    async with stuck(model) as server:
        for path in ("/v2/health/live", "/v2/health/ready"):
            answer = await server.ask("GET", path)
            assert (answer.status, answer.json["type"]) == (503, "/problems/model-stuck")
            assert "not come back from a call within 0.2 s" in answer.json["detail"]


@pytest.mark.logs_warnings
@over_http
async def test_all_who_wait_for_a_stuck_model_are_told_at_once() -> None:
    """Those in the call, those behind it, and those who come later: none waits its 30 s."""
    model = FakeModel()
    time_to_send = 2.0
    settings = with_settings(model={"hang_timeout_s": time_to_send}, batching={"max_rows": 2})
    async with serving(model, settings, expected_logs=["The process has to end"]) as server:
        model.hold()
        clients = [await server.connect() for _ in range(7)]
        await clients[0].send(predict_bytes([0]))
        await model.called()
        for n, client in enumerate(clients[1:]):
            await client.send(predict_bytes([[n], [n], [n]] if n else [n]))
        await server.waiting(16)
        answers = [await client.receive() for client in clients]
        late = await server.predict([1])

        assert {answer.status for answer in answers} == {503}
        assert {answer.json["type"] for answer in answers} == {"/problems/model-stuck"}
        assert all(int(answer["Retry-After"]) >= 1 for answer in answers)
        assert (late.status, late.json["type"]) == (503, "/problems/draining")
        assert model.rows == [0]


@over_http
async def test_a_deadline_before_the_patience_ends_is_a_504() -> None:
    model = FakeModel()
    async with serving(model, with_settings(model={"hang_timeout_s": 5})) as server:
        model.hold()
        answer = await server.predict([1], {"X-Request-Timeout-Ms": "100"})
        busy = (await server.ask("GET", "/metrics")).body.decode()
        live = await server.ask("GET", "/v2/health/live")

    assert (answer.status, live.status) == (504, 200)
    assert metric(busy, "predict_model_busy_seconds") >= 0.1


@pytest.mark.logs_warnings
@over_http
async def test_other_models_go_on_answering(tmp_path: Path) -> None:
    """Until the process ends, which is not decided here."""
    (tmp_path / "bad.keras").write_text("10")
    (tmp_path / "good.keras").write_text("20")
    settings = with_settings(model={"hang_timeout_s": SHORT})
    both = (tmp_path / "bad.keras", tmp_path / "good.keras")
    async with serving_files(*both, settings=settings, logs=["has to end"]) as (server, files):
        assert (await ask(server, "bad", 77)).json == {"prediction": 770.0}
        bad = next(model for model in files.models if 77 in model.rows)
        bad.hold()
        assert (await ask(server, "bad", 1)).json["type"] == "/problems/model-stuck"

        assert (await ask(server, "good", 1)).json == {"prediction": 20.0}
        assert (await ask(server, "bad", 1)).json["type"] == "/problems/draining"
        assert (await server.ask("GET", "/v2/models/good/ready")).status == 200
        assert (await server.ask("GET", "/v2/models/bad/ready")).status == 503
        bad.release()


@over_http
async def test_a_reload_that_takes_long_is_no_stuck_model(tmp_path: Path) -> None:
    (tmp_path / "line.keras").write_text("10")
    settings = with_settings(model={"hang_timeout_s": SHORT})
    async with serving_files(tmp_path / "line.keras", settings=settings) as (server, files):
        files.hold()
        reload = asyncio.ensure_future(server.service.repository.reload())
        await asyncio.to_thread(files.loading.wait, SOON)
        await asyncio.sleep(3 * SHORT)  # the time in which nothing should happen
        assert (await ask(server, "line", 1)).json == {"prediction": 10.0}
        assert (await server.ask("GET", "/v2/health/live")).status == 200
        files.release()
        await reload


async def ask(server: Server, name: str, row: float) -> Response:
    """Ask a model by its name."""
    body, headers = b'{"data":[%d]}' % row, {"Content-Type": JSON}
    return await server.ask("POST", f"/models/{name}/predict", headers, body)


@asynccontextmanager
async def stuck(model: FakeModel) -> AsyncIterator[Server]:
    """A server whose model is in a call that has been given up."""
    settings = with_settings(model={"hang_timeout_s": SHORT})
    async with serving(model, settings, expected_logs=["The process has to end"]) as server:
        model.hold()
        assert (await server.predict([1])).status == 503
        yield server


def metric(text: str, name: str) -> float:
    [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])
