"""One client connection: bytes in, one request at a time, bytes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from server.http.message import CLIENT_LEFT, MAX_JOINED, Request, Response, replaced_id, request_id
from server.http.rejections import REQUEST_LINE_BYTES, Reject
from server.http.tracing import TRACEPARENT
from server.logs import Access
from server.transport.llhttp.arriving import Arriving
from server.transport.llhttp.endpoint_run import EndpointRun
from server.transport.llhttp.head import BadRequest, Head, HeadTooLong
from server.transport.llhttp.interface import Host
from server.transport.llhttp.state import (
    ANSWERING,
    CLOSING,
    DISCARDING_BODY,
    IDLE,
    READING_BODY,
    READING_HEAD,
)
from server.transport.llhttp.stream import NEVER, Stream
from server.transport.llhttp.tornado_bridge import TornadoExchange

_NOT_READING: Final = (ANSWERING, CLOSING)
_RECEIVING: Final = (READING_BODY, DISCARDING_BODY)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Stream):
    """Answers the requests of a client in order, one at a time.

    `State` has the table of states.

    Args:
        unencrypted: the beginning of a request that came without TLS where it is required; the
            connection rejects it.
    """

    __slots__ = (
        "_body",
        "_client",
        "_exchange",
        "_head",
        "_id",
        "_is_last",
        "_is_proxy",
        "_started",
        "_unencrypted",
    )

    def __init__(self, host: Host, unencrypted: bytes = b"") -> None:
        super().__init__(host)
        self._unencrypted = unencrypted
        self._head: Head | None = None  # of the request that is arriving or in progress
        self._body: Arriving | None = None
        self._exchange: EndpointRun | TornadoExchange | None = None  # what is in progress
        self._id = ""
        self._started = 0.0
        self._client = ""  # the address of who sent the request
        self._is_proxy = False  # and tells the address of its client
        self._is_last = False  # close the connection after the current answer

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, or reject it: without TLS, or when there are too many connections."""
        super().connection_made(transport)
        self._is_proxy = self.host.outside.trusts(self.remote_ip)
        rejections = self.host.rejections
        if self._unencrypted:
            rejection = rejections.plain_http(self.remote_ip, self._unencrypted)
        elif self.host.admit(self):
            return
        else:
            rejection = rejections.too_many_connections(self.remote_ip)
        if self.host.add_rejected(self):
            self._send_last(rejection)
        else:
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Cancel the request in progress and release everything."""
        self._cancel_request()
        if self._body is not None:
            self._body.release()
        self.host.remove(self)
        super().connection_lost(error)

    def eof_received(self) -> None:
        """Treat a half-closed peer as disconnected; asyncio closes the transport."""
        self._cancel_request()

    def data_received(self, data: bytes) -> None:
        if self.state is CLOSING:
            if self.inbox.discard(len(data)):
                self.abort()
            return
        self.inbox.add(data)
        self._advance()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._advance()

    # Called by the server and by the request in progress.

    def time_out(self) -> None:
        """Close, because a time limit has passed; answer 408 if a request is incomplete."""
        if self.outbox.unsent:
            self.abort()
        elif self.state is READING_HEAD:
            self._reject_head(self.host.rejections.late_headers)
        elif self.state is READING_BODY:
            assert self._head is not None
            head = self._head
            self._end_with(head, self.host.rejections.late_body(head.route, head.fields))
        else:
            self.abort()

    def connection_option(self) -> str:
        """Return the Connection header line of this answer, or an empty string."""
        head = self._head
        assert head is not None
        if self._is_last or not head.keep_alive or self.host.closes_after_answers:
            self._is_last = True
            return "Connection: close\r\n"
        return "Connection: keep-alive\r\n" if head.is_http_1_0 else ""

    def close_after_answer(self) -> None:
        self._is_last = True

    def end_request(self) -> None:
        """Go on with the next request, now that the answer is written."""
        host, inbox = self.host, self.inbox
        host.activity.end(self)
        self._head = self._body = self._exchange = None
        if self.state is CLOSING:
            return
        self.state = IDLE
        if self._is_last:
            self.close(host.limits.body_timeout_s)
            return
        self.deadline = host.loop.time() + host.limits.idle_timeout_s
        if inbox.data:
            host.loop.call_soon(self._advance)  # lets other connections run in between
        elif not inbox.is_reading:
            inbox.steer_reading(is_busy=False)

    def reject_bytes(self) -> None:
        """Answer 400 to bytes that are not a valid request, and close."""
        if self.state is not CLOSING:
            self.host.activity.end(self)
            self.transport.write(self.host.rejections.not_http(self.remote_ip))
            self.linger()

    # Reading.

    def _advance(self) -> None:
        """Read until a request is in progress, or more bytes must arrive."""
        inbox, outbox = self.inbox, self.outbox
        try:
            while inbox.data and self.state not in _NOT_READING and outbox.is_writable:
                if not (self._read_body(self._body) if self._body else self._read_head()):
                    break
        except HeadTooLong:
            self._reject_head(self.host.rejections.headers_too_large)
        except BadRequest:
            if self.state is DISCARDING_BODY:  # 413 or 503 is the answer already
                self.linger()
            else:
                self.reject_bytes()
        if inbox.data or not inbox.is_reading:
            is_between = self.state is IDLE or self.state is READING_HEAD
            inbox.steer_reading(is_busy=not (is_between and outbox.is_writable))

    def _read_head(self) -> bool:
        """Read the head of the next request; return whether to read on."""
        host = self.host
        request = self.inbox.read_request(host.limits)
        if request is None:
            if self.state is IDLE:
                self.state = READING_HEAD
                self.deadline = host.loop.time() + host.limits.header_timeout_s
            return False
        head, body = request
        if host.outside.root:
            head = head.at(host.outside.inner_target(head.target))
        self._head = head
        self._is_last = False
        self._started = time.perf_counter()
        peer = self.remote_ip
        self._client = host.outside.client(head.fields, peer) if self._is_proxy else peer
        host.activity.begin(self)
        if body is None:
            self._expect_body(head)
            return True
        self._start(head, body)
        return False

    def _expect_body(self, head: Head) -> None:
        """Prepare for a body that is incomplete, or reject it as too large."""
        self.deadline = self.host.loop.time() + self.host.limits.body_timeout_s
        self.state = READING_BODY
        self._body = Arriving(head, self.host.limits, self.host.rejections)
        if head.length > self.host.limits.max_body_bytes:
            self._reject_body(head, self.host.rejections.body_too_large)
        elif head.expects_continue:
            self._ask_for_body(head)

    def _ask_for_body(self, head: Head) -> None:
        """Send 100 Continue, unless the head is enough to reject the request."""
        rejection = self.host.rejections.by_head(head.route, head.fields)
        if rejection is None:
            self.transport.write(_CONTINUE)
        else:
            self._end_with(head, rejection)

    def _read_body(self, body: Arriving) -> bool:
        """Read more of a body, and start the request at its end; return whether to read on."""
        assert self._head is not None
        is_behind = body.feed(self.inbox)
        if self.state is not DISCARDING_BODY and (reject := body.rejection()):
            self._reject_body(self._head, reject)
        if self.state is DISCARDING_BODY:
            self._discard_body(body)
        elif body.is_complete:
            self._start(self._head, body.take())
            return False
        if is_behind:
            self.host.loop.call_soon(self._advance)  # lets other connections run
        return not is_behind

    def _reject_body(self, head: Head, reject: Reject) -> None:
        """Answer 413 or 503, and discard the body: clients read only when they have sent it."""
        rejection = reject(head.route, head.fields)
        if head.expects_continue and not head.chunked:  # the body never comes
            self._end_with(head, rejection)
            return
        self.state = DISCARDING_BODY
        self._id = rejection.headers["X-Request-ID"]
        self._send(head, rejection)

    def _discard_body(self, body: Arriving) -> None:
        is_too_much = body.discard()
        if body.is_complete:
            self.end_request()
        elif is_too_much:
            self.abort()

    # Answering.

    def _start(self, head: Head, body: bytes) -> None:
        """Run the request: its endpoint if there is one, else Tornado."""
        self.state = ANSWERING
        self.deadline = NEVER
        self.outbox.release_if_sent()
        endpoint = self.host.endpoints.get(head.route)
        if endpoint is None:
            self._exchange = TornadoExchange(self, head, body, self.host.application)
            self._exchange.start()
            return
        self._id = request_id(head.fields)
        request = Request(self._id, head.fields, body, self._client, head.query)
        self._exchange = EndpointRun(endpoint(request), self._answer)
        self._exchange.start()

    def _answer(self, response: Response) -> None:
        assert self._head is not None
        self._send(self._head, response)
        if response.reserved is not None:
            self.outbox.keep(response.reserved)
        self.end_request()

    def _end_with(self, head: Head, rejection: Response) -> None:
        """Answer a request whose body will not be read, and close."""
        self._id = rejection.headers["X-Request-ID"]
        self._is_last = True
        self._send(head, rejection)
        self.host.activity.end(self)
        self.linger()

    def _reject_head(self, reject: Callable[[str, bytes], Response]) -> None:
        """Answer a request whose head is too long or too late, and close."""
        self._send_last(reject(self.remote_ip, self.inbox.beginning(REQUEST_LINE_BYTES)))

    def _send_last(self, rejection: Response) -> None:
        """Write an answer to bytes that are no request yet, and close."""
        self.transport.write(self.host.to_bytes(rejection, "Connection: close\r\n"))
        self.linger()

    def _send(self, head: Head, response: Response) -> None:
        """Write an answer and its access line."""
        option = self.connection_option()
        if head.trace:
            option += f"{TRACEPARENT}: {head.trace}\r\n"
        if len(response.body) > MAX_JOINED and head.method != "HEAD":
            # Joined with its head, the body would be copied.
            self.transport.write(self.host.to_bytes(response, option, "HEAD"))
            self.transport.write(response.body)
        else:
            self.transport.write(self.host.to_bytes(response, option, head.method))
        self._log(head, response.status)

    def _cancel_request(self) -> None:
        """Cancel the request in progress: the client has disconnected."""
        self.state = CLOSING
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        self.host.activity.end(self)
        if exchange is not None and not isinstance(exchange, TornadoExchange):
            assert self._head is not None
            self._log(self._head, CLIENT_LEFT)

    def _log(self, head: Head, status: int) -> None:
        seconds = time.perf_counter() - self._started
        replaced = replaced_id(head.fields, self._id)
        client, trace = self._client, head.trace
        self.host.log_access(
            Access(head.method, head.path, status, seconds, self._id, client, replaced, trace)
        )

    def _body_goes_on(self, now: float) -> bool:
        """Return whether enough of a body has arrived in time; it has as much time again then."""
        if self._body is None or self.state not in _RECEIVING:
            return False
        if not self._body.goes_on():
            return False
        self.deadline = now + self.host.limits.body_timeout_s
        return True
