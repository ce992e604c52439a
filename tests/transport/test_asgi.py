"""The service under an ASGI server: the same endpoints, whoever has the sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from server.app import make_asgi
from server.asgi import AsgiService
from server.http.activity import Activity
from server.logs import Access
from server.monitoring.live_page import LivePage, read
from server.serving.service import Service
from server.transport.asgi import AsgiRequests
from tests.process.harness import READY_WITHIN
from tests.process.serve_fake import COMMAND
from tests.support.fake_process import in_threads
from tests.support.harness import SOON, FakeModel, with_settings

POST = ("POST", "/predict")


@dataclass
class Exchange:
    """What an ASGI server says for one request, and what it is told."""

    method: str = "GET"
    path: str = "/"
    body: Sequence[bytes] = (b"",)
    mounted: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)
    leaves: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: int = 0

    @property
    def scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "method": self.method,
            "path": self.mounted + self.path,
            "raw_path": (self.mounted + self.path).encode(),
            "root_path": self.mounted,
            "query_string": b"",
            "scheme": "http",
            "client": ("10.1.2.3", 4),
            "headers": [
                (b"host", b"example.org"),
                (b"content-type", b"application/json"),
                (b"x-request-id", b"mine"),
            ],
        }

    async def receive(self) -> dict[str, Any]:
        """Give the parts of the body, then nothing until the client leaves."""
        if self.arrived < len(self.body):
            self.arrived += 1
            more = self.arrived < len(self.body)
            return {
                "type": "http.request",
                "body": self.body[self.arrived - 1],
                "more_body": more,
            }
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def answer(self) -> Any:
        return json.loads(b"".join(message["body"] for message in self.sent[1:]))


@dataclass
class Served:
    """The service with a fake model."""

    app: AsgiRequests
    model: FakeModel
    accesses: list[Access]

    async def ask(self, method: str, path: str, *body: bytes, mounted: str = "") -> Exchange:
        exchange = Exchange(method, path, body or (b"",), mounted)
        await asyncio.wait_for(self.app(exchange.scope, exchange.receive, exchange.send), SOON)
        return exchange


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[Served]:
    service, model, accesses = Service(with_settings(**settings)), FakeModel(), []
    live_page = LivePage(lambda: read(service))
    app = make_asgi(service, Activity(), live_page, log_access=accesses.append)
    await service.start(in_threads(lambda _: model))
    model.batches.clear()
    try:
        yield Served(app, model, accesses)
    finally:
        model.release()
        await service.drain()
        await service.close()


@pytest.mark.gen_test
async def test_a_prediction_is_answered_as_over_a_socket_of_ours() -> None:
    async with served() as it:
        exchange = await it.ask(*POST, b'{"data":', b"[10]}")

    assert exchange.status == 200
    assert exchange.answer == {"prediction": 31.0}
    assert exchange.headers["x-request-id"] == "mine"
    assert exchange.headers["content-length"] == str(len(exchange.sent[1]["body"]))
    assert exchange.headers["server"] == "keras-batch-server"


@pytest.mark.gen_test
async def test_all_other_routes_are_there() -> None:
    async with served() as it:
        ready = await it.ask("GET", "/v2/health/ready")
        document = await it.ask("GET", "/openapi.json")
        unknown = await it.ask("GET", "/nothing")
        index = await it.ask("POST", "/v2/repository/index", b"{}")

    assert (ready.status, unknown.status, index.status) == (200, 404, 200)
    assert document.answer["openapi"].startswith("3.1")
    assert unknown.answer["type"] == "/problems/not-found"


@pytest.mark.gen_test
async def test_a_path_under_which_we_are_mounted_is_no_part_of_the_route() -> None:
    async with served() as it:
        exchange = await it.ask(*POST, b'{"data":[1]}', mounted="/ml")

    assert exchange.answer == {"prediction": 4.0}


@pytest.mark.gen_test
async def test_a_body_that_is_too_large_is_rejected_before_its_end_is_read() -> None:
    async with served(http={"max_body_bytes": 10}) as it:
        exchange = await it.ask(*POST, b"123456", b"789012", b"more")

    assert exchange.status == 413
    assert exchange.arrived == 2


@pytest.mark.gen_test
async def test_rows_of_a_client_that_leaves_are_not_computed() -> None:
    """It waits behind a call; its row is taken out of the queue."""
    async with served() as it:
        it.model.hold()
        first = asyncio.ensure_future(it.ask(*POST, b'{"data":[1]}'))
        await it.model.called()
        leaving = Exchange(*POST, [b'{"data":[2]}'])
        gone = asyncio.ensure_future(it.app(leaving.scope, leaving.receive, leaving.send))
        await asyncio.sleep(0)
        leaving.leaves.set()
        await asyncio.wait_for(gone, SOON)
        it.model.release()
        await first

        assert it.model.rows == [1]
        assert leaving.sent == []
        assert [access.status for access in it.accesses] == [499, 200]


@pytest.mark.gen_test
async def test_an_access_line_names_the_client() -> None:
    async with served() as it:
        await it.ask(*POST, b'{"data":[1]}')
        await it.ask("GET", "/v2")

    assert [(each.method, each.path, each.client, each.status) for each in it.accesses] == [
        ("POST", "/predict", "10.1.2.3", 200),
        ("GET", "/v2", "10.1.2.3", 200),
    ]


class Lifespan:
    """An ASGI server's messages about its life."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def says(self, what: str) -> dict[str, Any]:
        self.said.put_nowait({"type": f"lifespan.{what}"})
        return await asyncio.wait_for(self.answers.get(), READY_WITHIN)


@asynccontextmanager
async def living(app: AsgiService) -> AsyncIterator[Lifespan]:
    life = Lifespan()
    task = asyncio.ensure_future(app({"type": "lifespan"}, life.said.get, life.answers.put))
    yield life
    await asyncio.wait_for(task, SOON)


@pytest.mark.process
@pytest.mark.gen_test(timeout=100)
async def test_models_are_loaded_at_its_start_and_ended_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FOLDER", str(tmp_path))
    app = AsgiService(with_settings(logging={"access": False, "payloads": False}), COMMAND)
    exchange = Exchange(*POST, [b'{"data":[10]}'])

    async with living(app) as life:
        started = await life.says("startup")
        await app(exchange.scope, exchange.receive, exchange.send)
        [model] = app.service.repository.models() if app.service else []
        ended = await life.says("shutdown")

    assert started["type"] == "lifespan.startup.complete"
    assert exchange.answer == {"prediction": 31.0}
    assert ended["type"] == "lifespan.shutdown.complete"
    assert model.serving.done()


@pytest.mark.process
@pytest.mark.logs_warnings
@pytest.mark.gen_test(timeout=100)
async def test_a_model_that_cannot_be_loaded_ends_its_start() -> None:
    settings = with_settings(model={"path": "missing.keras"})

    async with living(AsgiService(settings)) as life:
        failed = await life.says("startup")

    assert failed["type"] == "lifespan.startup.failed"
    assert "missing.keras" in failed["message"]
