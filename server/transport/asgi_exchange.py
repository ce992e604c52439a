"""Runs a request of an ASGI server through a Tornado application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application


class AsgiExchange(HTTPConnection):
    """Passes a request to the application, whose handler answers by calling this connection.

    Attributes:
        context: where Tornado looks for the client's address and protocol.
    """

    def __init__(
        self,
        app: Application,
        line: RequestStartLine,
        headers: HTTPHeaders,
        body: bytes,
        client: str,
        scheme: str,
    ) -> None:
        self.context = SimpleNamespace(remote_ip=client, protocol=scheme)
        self._line, self._headers, self._body = line, headers, body
        self._delegate = app.start_request(self, self)
        self._messages: asyncio.Queue[tuple[dict[str, Any], asyncio.Future[None]]] = asyncio.Queue()
        self._on_close: Callable[[], None] | None = None

    async def run(
        self,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Send what the handler answers; returns at its end, or when the client disconnects."""
        await self._hand_over()
        sending = asyncio.ensure_future(self._send_all(send))
        leaving = asyncio.ensure_future(receive())  # after the body there is nothing but the end
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            leaving.cancel()
            if self._on_close is not None:
                callback, self._on_close = self._on_close, None
                callback()

    async def _hand_over(self) -> None:
        """Call the delegate as Tornado's own connection does."""
        if (prepared := self._delegate.headers_received(self._line, self._headers)) is not None:
            await prepared
        if self._body and (received := self._delegate.data_received(self._body)) is not None:
            await received
        self._delegate.finish()

    async def _send_all(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        is_last = False
        while not is_last:
            message, sent = await self._messages.get()
            await send(message)
            if not sent.done():
                sent.set_result(None)
            is_last = message.get("more_body") is False

    def _put(self, message: dict[str, Any]) -> asyncio.Future[None]:
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._messages.put_nowait((message, sent))
        return sent

    # Called by the handler.

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Set what is called when the client disconnects before it is answered."""
        self._on_close = callback

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Send the head of the response and the first part of its body."""
        assert isinstance(start_line, ResponseStartLine)
        pairs = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in headers.get_all()
            if name not in {"Connection", "Transfer-Encoding"}
        ]
        head = {"type": "http.response.start", "status": start_line.code, "headers": pairs}
        sent = self._put(head)
        return self.write(chunk) if chunk else sent

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Send a part of the body."""
        return self._put({"type": "http.response.body", "body": chunk, "more_body": True})

    def finish(self) -> None:
        """End the response."""
        self._on_close = None
        self._put({"type": "http.response.body", "body": b"", "more_body": False})
