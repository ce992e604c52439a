"""The private names of Tornado and asyncio that the server uses still mean what it relies on.

A failing test here says that a new version has changed one: read its source, mend the file that
`private_names.py` names, and write the new version there.
"""

from __future__ import annotations

import ast
import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, SSLIOStream
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from server.transport.private_names import PRIVATE_NAMES
from tests.support.harness import SOON

CHECKOUT = Path(__file__).parents[2]
DATA = CHECKOUT / "tests" / "data"
CERT, KEY = str(DATA / "tls.crt"), str(DATA / "tls.key")
ROOMS = ("server/transport", "server/handlers", "server/http")
DOCUMENTED = {"_replace"}  # of a named tuple


class Names(ast.NodeVisitor):
    """Collects private attributes that a file uses, and those that it defines itself."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.own: set[str] = set()

    def visit_Attribute(self, node: ast.Attribute) -> None:
        of_self = isinstance(node.value, ast.Name) and node.value.id == "self"
        if of_self and isinstance(node.ctx, ast.Store):
            self.own.add(node.attr)
        elif node.attr.startswith("_") and not node.attr.startswith("__"):
            self.used.add(node.attr)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.own.add(node.name)
        self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.own.add(node.name)
        self.generic_visit(node)


def foreign_names() -> Iterator[tuple[str, str]]:
    """Find the private names that files use and do not define, with the files."""
    for room in ROOMS:
        for path in (CHECKOUT / room).rglob("*.py"):
            names = Names()
            names.visit(ast.parse(path.read_text()))
            for name in names.used - names.own - DOCUMENTED:
                yield name, path.relative_to(CHECKOUT).as_posix()


def test_the_table_lists_every_private_name_and_its_file() -> None:
    assert set(foreign_names()) == {(each.name, each.used_in) for each in PRIVATE_NAMES}


class EchoHandler(RequestHandler):
    """Answers with a header that was set without Tornado's checks."""

    def get(self) -> None:
        self._headers.update({"X-Unchecked": "yes"})
        assert self._headers.get("X-Unchecked") == "yes"

    def post(self) -> None:
        self.finish(self.request.body)


class Server(HTTPServer):
    """Tornado's server with its connections at hand."""

    listeners: list[socket.socket]

    @property
    def stream(self) -> IOStream:
        """The stream of the only connection."""
        (connection,) = self._connections
        return connection.stream


@asynccontextmanager
async def serving(ssl_options: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(Application([("/", EchoHandler)]), ssl_options=ssl_options)
    server.listeners = bind_sockets(0, "127.0.0.1")
    server.add_sockets(server.listeners)
    try:
        yield server
    finally:
        server.stop()
        await server.close_all_connections()


def address_of(server: Server) -> tuple[str, int]:
    (listener,) = server.listeners
    address: tuple[str, int] = listener.getsockname()
    return address


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.gen_test
async def test_connections_has_those_that_are_open() -> None:
    async with serving() as server:
        _, writer = await asyncio.open_connection(*address_of(server))
        await until(lambda: len(server._connections) == 1)
        assert isinstance(server.stream, IOStream)

        writer.close()
        await until(lambda: not server._connections)


@pytest.mark.gen_test
async def test_read_buffer_size_counts_what_is_read_and_not_used() -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection(*address_of(server))
        writer.write(b"POST / HT")
        await until(lambda: server._connections and server.stream._read_buffer_size)
        assert server.stream._read_buffer_size == len("POST / HT")
        assert bytes(server.stream._read_buffer) == b"POST / HT"

        writer.write(b"TP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
        await reader.readuntil(b"\r\n\r\nab")
        assert server.stream._read_buffer_size == 0
        writer.close()


@pytest.mark.gen_test
async def test_total_write_done_index_counts_what_was_sent() -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection(*address_of(server))
        await until(lambda: server._connections)
        assert server.stream._total_write_done_index == 0

        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
        answer = await reader.readuntil(b"\r\n\r\nab")
        assert server.stream._total_write_done_index == len(answer)
        writer.close()


@pytest.mark.gen_test
async def test_headers_are_those_of_the_answer() -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection(*address_of(server))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

        assert b"\r\nX-Unchecked: yes\r\n" in await reader.readuntil(b"\r\n\r\n")
        writer.close()


@pytest.mark.gen_test
async def test_disconnect_on_finish_closes_the_connection_behind_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the headers of the request have arrived, which is where we set it."""
    start_request: Any = Server.start_request

    def start_and_disconnect(self: Any, server: object, connection: HTTP1Connection) -> Any:
        delegate = start_request(self, server, connection)
        headers_received = delegate.headers_received

        def set_and_go_on(*parts: Any) -> Any:
            assert connection._disconnect_on_finish is False
            connection._disconnect_on_finish = True
            return headers_received(*parts)

        delegate.headers_received = set_and_go_on
        return delegate

    monkeypatch.setattr(Server, "start_request", start_and_disconnect)
    async with serving() as server:
        reader, writer = await asyncio.open_connection(*address_of(server))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(SOON):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


@pytest.mark.gen_test
async def test_ssl_accepting_is_true_until_the_handshake_is_done() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERT, KEY)
    async with serving(context) as server:
        seen: list[SSLIOStream] = []
        handle_stream = server.handle_stream

        def note(stream: Any, address: Any) -> None:
            seen.append(stream)
            handle_stream(stream, address)

        server.handle_stream = note  # type: ignore[method-assign]  # to see its streams
        _, plain = await asyncio.open_connection(*address_of(server))
        await until(lambda: seen)
        assert seen[0]._ssl_accepting is True

        trusting = ssl.create_default_context(cafile=CERT)
        await plain.start_tls(trusting, server_hostname="127.0.0.1")
        await until(lambda: not seen[0]._ssl_accepting)
        plain.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_future_that_a_coroutine_yields_is_marked_as_blocking(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Whoever steps a coroutine may take the mark away, and go on once the future is done."""

    async def wait(future: asyncio.Future[int]) -> int:
        return await future

    loop = new_loop()
    future: asyncio.Future[int] = loop.create_future()
    assert future._asyncio_future_blocking is False
    coroutine = wait(future)
    assert coroutine.send(None) is future
    assert future._asyncio_future_blocking is True

    future._asyncio_future_blocking = False
    future.set_result(7)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == 7
    loop.close()


def test_a_task_takes_the_mark_away_as_endpoint_runs_do() -> None:
    async def wait(future: asyncio.Future[int]) -> int:
        return await future

    async def main() -> tuple[bool, int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(wait(future))
        await asyncio.sleep(0)
        mark = future._asyncio_future_blocking
        future.set_result(7)
        return mark, await task

    assert asyncio.run(main()) == (False, 7)
