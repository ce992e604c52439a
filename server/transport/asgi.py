"""The service as an ASGI application, for servers with sockets of their own, as uvicorn and Ray's.

Predictions go straight to their endpoint, all other routes through Tornado's handlers. Limits on
connections, headers and waiting times are those of the ASGI server; the limit on bodies is ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from tornado.httputil import HTTPHeaders, RequestStartLine
from tornado.web import Application

from server.config import HttpSettings
from server.http.activity import Activity, LogAccess
from server.http.message import (
    CLIENT_LEFT,
    COMMON_HEADERS,
    Request,
    Response,
    replaced_id,
    request_id,
)
from server.http.outside import Outside
from server.http.paths import normal_path
from server.http.rejections import Rejections
from server.http.tracing import trace_of, traced
from server.logs import Access
from server.transport.asgi_exchange import AsgiExchange
from server.transport.interface import EndpointLookup

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

DISCONNECT: Final = "http.disconnect"
TOO_LARGE: Final = None  # in place of a body


class AsgiRequests:
    """Answers the HTTP requests of an ASGI server.

    Args:
        app: answers what is no prediction.
        log_access: writes the access line of a prediction; `app` has one for all others.
    """

    def __init__(
        self,
        app: Application,
        limits: HttpSettings,
        endpoints: EndpointLookup,
        rejections: Rejections,
        activity: Activity,
        log_access: LogAccess,
        outside: Outside,
    ) -> None:
        self._app = app
        self._limits = limits
        self._endpoints = endpoints
        self._rejections = rejections
        self._activity = activity
        self._log_access = log_access
        self._outside = outside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whose scope is of type `http`."""
        began = time.perf_counter()
        headers = HTTPHeaders()
        for name, value in scope["headers"]:
            headers.add(name.decode("latin-1"), value.decode("latin-1"))
        method, path = scope["method"], self._path(scope)
        peer = (scope.get("client") or [""])[0]
        body = await self._body(receive)
        endpoint = self._endpoints.get((method, path))
        if body is not TOO_LARGE and endpoint is None:
            target = path + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
            line = RequestStartLine(method, target, "HTTP/1.1")
            exchange = AsgiExchange(self._app, line, headers, body, peer, scope["scheme"])
            await exchange.run(receive, send)
            return
        client, trace = self._outside.client(headers, peer), trace_of(headers)
        if body is TOO_LARGE or endpoint is None:
            response = self._rejections.body_too_large((method, path), headers)
        else:
            request = Request(request_id(headers), headers, body, client)
            response = await self._until_disconnect(endpoint(request), receive)
        id_ = response.headers.get("X-Request-ID", "") or request_id(headers)
        seconds, replaced = time.perf_counter() - began, replaced_id(headers, id_)
        entry = Access(method, path, response.status, seconds, id_, client, replaced, trace)
        self._log_access(entry)
        if response.status != CLIENT_LEFT:
            await respond(response, trace, send)

    def _path(self, scope: Scope) -> str:
        """Return the path of our route: without that under which the ASGI server has mounted us."""
        raw = scope.get("raw_path") or scope["path"].encode()
        path = raw.decode("latin-1").partition("?")[0]
        mounted = scope.get("root_path", "")
        if mounted and f"{path}/".startswith(f"{mounted}/"):
            path = path.removeprefix(mounted) or "/"
        return self._outside.inner_path(normal_path(path))

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the body, or TOO_LARGE; raises CancelledError if the client disconnects."""
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == DISCONNECT:
                raise asyncio.CancelledError
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._limits.max_body_bytes:
                return TOO_LARGE
            chunks.append(chunk)
            if not message.get("more_body"):
                return b"".join(chunks)

    async def _until_disconnect(self, call: Any, receive: Receive) -> Response:
        """Return what an endpoint answers, or a response of status 499 if its client has gone."""
        running = asyncio.ensure_future(call)
        self._activity.begin(running)
        leaving = asyncio.ensure_future(_disconnect(receive))
        leaving.add_done_callback(lambda done: None if done.cancelled() else running.cancel())
        try:
            answer: Response = await running
        except asyncio.CancelledError:
            running.cancel()
            if not leaving.done():
                raise  # the ASGI server cancels the request
            return Response(CLIENT_LEFT, {}, b"")
        finally:
            leaving.cancel()
            self._activity.end(running)
        return answer


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != DISCONNECT:
        pass


async def respond(response: Response, trace: str, send: Send) -> None:
    """Send a response; its memory is released when the ASGI server has taken it."""
    fields = {**COMMON_HEADERS, **traced(response.headers, trace)}
    fields["Content-Length"] = str(len(response.body))
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields.items()]
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})
    finally:
        if response.reserved is not None:
            response.reserved.release()
