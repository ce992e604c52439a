"""The real application on a real socket, a model of numpy behind it, and clients that see bytes.

Nothing here imports TensorFlow. Every answer that a test receives is held against the OpenAPI
document of the server that gave it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jsonschema_rs
import numpy as np
import pytest

from model.engines.interface import Engine
from model.signature import Signature, TensorSpec
from server.app import make_transport, openapi_document
from server.config import BatchingSettings, Settings
from server.http.activity import Activity
from server.http.auth import ApiKeys
from server.http.codings import decompressed
from server.listening import bind
from server.logs import Access, PayloadLog
from server.monitoring.live_page import LivePage, read
from server.serving.decoders.pool import StartDecoder
from server.serving.served_model import ServedModel
from server.serving.service import Service
from server.transport.interface import Transport
from server.transport.tls import context_of
from tests.support.fake_process import in_threads

TEST_SECONDS = 60  # more than any test needs, so that only what hangs gets there
SOON = 10.0  # seconds that a step of a test may take

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
NUMBER = Signature((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (1,), "float32"),))


OF_TRANSPORT = (100, 408, 431)  # any route may answer these, whether its document says so or not

transport = "llhttp"  # the fixture `transport` sets it


def over_http(test: Any) -> Any:
    """Mark a test that is run on the event loop, once for each transport."""
    return pytest.mark.usefixtures("transport")(pytest.mark.gen_test(timeout=TEST_SECONDS)(test))


def with_settings(**sections: Mapping[str, Any]) -> Settings:
    """Return the default settings, some of them replaced: `http={"port": 1}`.

    Unless they are among them, the most rows in a batch are 64, so that nothing is measured, and a
    request may wait as long as a busy machine makes it.
    """
    settings = Settings(batching=BatchingSettings(max_rows=64, max_queue_ms=60_000))
    changed = {name: replace(getattr(settings, name), **keys) for name, keys in sections.items()}
    return replace(settings, **changed)


class FakeModel:
    """y = 3x + 1 on the first input, when and how the test wants.

    Attributes:
        batches: the first cells of the rows of every call since it is served.
        poison: a call with any of these rows raises.
        spoil: what is answered in place of the right values.
        seconds: how long every call takes.
    """

    fixed_rows: int | None = None
    name = "tensorflow"
    is_half_precision = False
    padding_hint = None
    eager = None

    def __init__(self, signature: Signature = NUMBER) -> None:
        self.signature = signature
        self.batches: list[list[float]] = []
        self.poison: set[float] = set()
        self.spoil: Callable[[np.ndarray], np.ndarray] = lambda y: y
        self.seconds = 0.0
        self._gate = threading.Event()
        self._gate.set()
        self._changed = threading.Condition()

    @property
    def rows(self) -> list[float]:
        """All rows of all calls so far."""
        return [row for batch in self.batches for row in batch]

    def hold(self) -> None:
        """Let calls from now on take until they are released."""
        self._gate.clear()

    def release(self) -> None:
        """Let the held call end, and later ones run freely."""
        self._gate.set()

    async def called(self, times: int = 1) -> None:
        """Wait until so many calls have begun."""
        await asyncio.to_thread(self._wait_for_calls, times)

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Be the network: one call for all rows."""
        x = arrays[0].reshape(len(arrays[0]), -1)
        with self._changed:
            self.batches.append(x[:, 0].tolist())
            self._changed.notify_all()
        self._gate.wait(SOON)
        if self.seconds:
            threading.Event().wait(self.seconds)
        if guilty := self.poison.intersection(self.batches[-1]):
            raise ValueError(f"cannot stand {sorted(guilty)}")
        y = self.spoil(3.0 * x[:, :1] + 1.0)
        return [_shaped(y, spec) for spec in self.signature.outputs]

    def _wait_for_calls(self, times: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.batches) >= times, SOON), self.batches


def _shaped(y: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Repeat a column until it has the shape of an output."""
    shape = [size or 2 for size in spec.shape]
    cells = np.repeat(y, int(np.prod(shape)), axis=1).astype(spec.dtype)
    return cells.reshape(len(y), *shape)


@dataclass(frozen=True)
class Response:
    """What came over the wire; `headers` in their order, as they were written."""

    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        """Return a header that is there exactly once."""
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def all(self, name: str) -> list[str]:
        """Return the values of a header, as often as it is there."""
        return [value for given, value in self.headers if given.lower() == name.lower()]

    @property
    def media_type(self) -> str:
        """The media type without its parameters."""
        return self["Content-Type"].partition(";")[0]

    @cached_property
    def json(self) -> Any:
        """The body's JSON, which may be compressed."""
        if "Content-Encoding" not in self:
            return json.loads(self.body)
        return json.loads(decompressed(self["Content-Encoding"], self.body, 2**26))


def request_bytes(
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    version: str = "HTTP/1.1",
) -> bytes:
    """Return a request as it goes over the wire; a body brings its length along."""
    length = {} if body is None else {"Content-Length": str(len(body))}
    lines = [f"{method} {target} {version}"]
    lines += [
        f"{k}: {v}" for k, v in ({"Host": "localhost"} | length | dict(headers or {})).items()
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def predict_bytes(data: Any, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a request for predictions as it goes over the wire."""
    body = json.dumps({"data": data}).encode()
    return request_bytes("POST", "/predict", {"Content-Type": JSON} | dict(headers or {}), body)


class Client:
    """One connection, as bytes."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._server = server

    async def send(self, data: bytes) -> None:
        """Send bytes as they are; raises ConnectionError where the server has ended it."""
        if self.writer.is_closing():  # uvloop raises RuntimeError for such a write
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, method: str = "POST", path: str = "/predict") -> Response:
        """Read the answer to a request, no byte more; of one that does not end, the head."""
        async with asyncio.timeout(SOON):
            head = await self.reader.readuntil(b"\r\n\r\n")
            start, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
            version, status, reason = start.split(" ", 2)
            headers = [(n, v.strip()) for n, _, v in (line.partition(":") for line in lines)]
            response = Response(version, int(status), reason, headers, b"")
            endless = "Transfer-Encoding" in response
            if method != "HEAD" and response.status not in (100, 204) and not endless:
                body = await self.reader.readexactly(int(response["Content-Length"]))
                response = replace(response, body=body)
        self._server.exchanges.append((method, path, response))
        return response

    async def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        version: str = "HTTP/1.1",
    ) -> Response:
        """Send a request, read its answer."""
        await self.send(request_bytes(method, target, headers, body, version))
        return await self.receive(method, target.partition("?")[0])

    async def predict(self, data: Any, headers: Mapping[str, str] | None = None) -> Response:
        """Ask for predictions in the native dialect."""
        await self.send(predict_bytes(data, headers))
        return await self.receive()

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
        """Send a body to `/predict` as JSON."""
        return await self.ask(
            "POST", "/predict", {"Content-Type": JSON} | dict(headers or {}), body
        )

    async def rest(self) -> bytes:
        """Read until the server closes the connection."""
        async with asyncio.timeout(SOON):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def pause(self) -> None:
        """Read nothing from now on."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's can

    def half_close(self) -> None:
        """End the sending side."""
        self.writer.write_eof()

    def close(self) -> None:
        """End the connection."""
        self.writer.close()

    def abort(self) -> None:
        """End the connection with a reset."""
        self.writer.transport.abort()


class LogRecords(logging.Handler):
    """Keeps what is logged, and lets a test wait for a line of the access log."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.accesses: list[str] = []
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._arrived.set)

    @property
    def serious(self) -> list[logging.LogRecord]:
        """The records at WARNING and above."""
        return [record for record in self.records if record.levelno >= logging.WARNING]

    def add_access(self, entry: Access) -> None:
        """Be the access log: keep a line of a request."""
        method, path, status, seconds, request_id, client, replaced_id, trace = entry
        replaced = f" in place of {replaced_id!r}" if replaced_id else ""
        self.accesses.append(
            f"{method} {path} {status} {seconds * 1000:.1f} ms {request_id}{replaced} from {client}"
            + (f" trace {trace}" if trace else "")
        )
        self._arrived.set()

    async def access(self, *words: str) -> str:
        """Wait for a line of the access log that has all these words."""
        async with asyncio.timeout(SOON):
            while True:
                self._arrived.clear()
                for line in self.accesses:
                    if all(word in line for word in words):
                        return line
                await self._arrived.wait()


class Server:
    """A running server.

    Attributes:
        exchanges: method, path and answer of every request that was answered.
        logs: what was logged.
        expected_logs: the test expects serious records that contain one of these.
        tls: what clients trust, where the server speaks HTTPS.
        accepting_tls: the server's side of that.
        keys: its API keys.
    """

    def __init__(
        self,
        service: Service,
        http: Transport,
        activity: Activity,
        port: int,
        logs: LogRecords,
    ) -> None:
        self.service = service
        self.http = http
        self.activity = activity
        self.port = port
        self.exchanges: list[tuple[str, str, Response]] = []
        self.logs = logs
        self.expected_logs: list[str] = []
        self.tls: ssl.SSLContext | None = None
        self.accepting_tls: ssl.SSLContext | None = None
        self.keys = ApiKeys(())
        self._clients: list[Client] = []

    @property
    def origin(self) -> str:
        """Its address."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def connect(self) -> Client:
        """Open a connection."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, limit=2**24, ssl=self.tls
        )
        self._clients.append(Client(reader, writer, self))
        return self._clients[-1]

    async def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """Send a request over a connection of its own, read its answer."""
        client = await self.connect()
        response = await client.ask(method, target, headers, body)
        client.close()
        return response

    async def predict(self, data: Any, headers: Mapping[str, str] | None = None) -> Response:
        """Ask for predictions over a connection of its own."""
        client = await self.connect()
        response = await client.predict(data, headers)
        client.close()
        return response

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
        """Send a body to `/predict` as JSON over a connection of its own."""
        client = await self.connect()
        response = await client.post(body, headers)
        client.close()
        return response

    async def waiting(self, rows: int) -> None:
        """Wait until exactly so many rows are in the queue."""
        async with asyncio.timeout(SOON):
            while self.service.model.batcher.queue.rows != rows:
                await asyncio.sleep(0.001)

    def let_go(self) -> None:
        """End the connections of all clients."""
        for client in self._clients:
            client.close()


@asynccontextmanager
async def serving(
    model: Engine | None = None,
    settings: Settings | None = None,
    payload_log: PayloadLog | None = None,
    expected_logs: Iterable[str] = (),
    start_decoder: StartDecoder | None = None,
) -> AsyncIterator[Server]:
    """Serve a model until the test is over; see that nothing is left behind then."""
    model = model or FakeModel()
    async with listening(settings, payload_log, expected_logs, start_decoder) as server:
        await server.service.start(in_threads(lambda _: model))
        if isinstance(model, FakeModel):
            model.batches.clear()  # the calls for the examples of the documentation
        try:
            yield server
        finally:
            if isinstance(model, FakeModel):
                model.release()


@asynccontextmanager
async def listening(
    settings: Settings | None = None,
    payload_log: PayloadLog | None = None,
    expected_logs: Iterable[str] = (),
    start_decoder: StartDecoder | None = None,
) -> AsyncIterator[Server]:
    """Listen without a model until the test is over; see that nothing is left behind then."""
    settings = settings or with_settings()
    settings = replace(settings, http=replace(settings.http, transport=transport))
    service, activity = Service(settings, start_decoder), Activity()
    keys = ApiKeys(settings.auth.api_keys)
    logs = LogRecords()
    log_access = {"log_access": logs.add_access} if settings.logging.access else {}
    tls = context_of(settings.http)
    live_page = LivePage(lambda: read(service))
    live_page.start()
    http = make_transport(
        service, activity, live_page, payload_log=payload_log, keys=keys, tls=tls, **log_access
    )
    sockets = bind(replace(settings.http, port=0))
    await http.listen(sockets)
    ports = [each.getsockname()[1] for each in sockets if each.family != socket.AF_UNIX]
    server = Server(service, http, activity, (ports or [0])[0], logs)
    server.keys, server.accepting_tls = keys, tls
    if tls:
        server.tls = ssl.create_default_context(cafile=settings.http.tls_cert)
    server.expected_logs += expected_logs
    with recording(server.logs):
        try:
            yield server
        finally:
            server.let_go()
            http.stop()
            await asyncio.wait_for(service.drain(), SOON)
            await asyncio.wait_for(activity.idle(), SOON)
            await asyncio.wait_for(http.close_all_connections(), SOON)
            await service.close()
    check_nothing_is_left(server)
    check_logs(server)
    check_documented(server)


@contextmanager
def recording(handler: LogRecords) -> Any:
    """Keep all records of all loggers."""
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def check_nothing_is_left(server: Server) -> None:
    """See that the queue's account is even."""
    assert not server.service.answers.used
    for model in server.service.repository.models():
        queue = model.batcher.queue
        assert (queue.rows, queue.nbytes) == (0, 0)
        assert (model.batcher.holders, model.batcher.held_bytes) == (0, 0)
    assert server.service.decoders.lines.ahead("") == []


def check_logs(server: Server) -> None:
    """See that every serious record was expected, and every expected one came."""
    texts = [logging.Formatter().format(record) for record in server.logs.serious]
    unexpected = [t for t in texts if not any(word in t for word in server.expected_logs)]
    assert not unexpected, "\n".join(unexpected)
    missing = [word for word in server.expected_logs if not any(word in text for text in texts)]
    assert not missing, f"not logged: {missing}"


def check_documented(server: Server) -> None:
    """See that every answer is one that the OpenAPI document promises."""
    if not server.service.models:
        return
    document = document_for(server.service.models)
    for method, path, response in server.exchanges:
        operation = document["paths"].get(path, {}).get(method.lower())
        if operation and response.status not in OF_TRANSPORT:
            undocumented(document, operation, f"{method} {path}", response)


DOCUMENTS: dict[tuple[bytes, ...], Any] = {}


def document_for(models: Sequence[ServedModel]) -> Any:
    """Return the OpenAPI document of these models; it is made once for models that are alike."""
    key = tuple(model.loaded.recipe for model in models)
    if key not in DOCUMENTS:
        DOCUMENTS[key] = json.loads(openapi_document(*models))
    return DOCUMENTS[key]


def undocumented(document: Any, operation: Any, name: str, response: Response) -> None:
    """Raise AssertionError when an operation's documentation does not fit its answer."""
    described = operation["responses"].get(str(response.status))
    assert described, f"{name} answered {response.status}, which is not documented"
    for header in described.get("headers", {}):
        assert header in response, f"{name} answered {response.status} without {header}"
    content = described["content"]
    body = content.get(response.media_type) or content.get("*/*")
    assert body, f"{name} answered {response.status} with {response.media_type}"
    if response.media_type in (JSON, PROBLEM_JSON):
        schema = {"allOf": [body["schema"]], "components": document["components"]}
        jsonschema_rs.validate(schema, response.json)
