"""One client's connection: bytes in, one request at a time, bytes out."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from server.errors import BodyTooLarge, TooManyConnections
from server.http.message import CLIENT_LEFT, Request, Response, problem, request_id
from server.transport.interface import LINGER_SECONDS, MAX_DISCARDED_BYTES
from server.transport.llhttp.body import Body, ChunkedBody, LengthBody
from server.transport.llhttp.endpoint_run import EndpointRun
from server.transport.llhttp.head import BadRequest, Head
from server.transport.llhttp.inbox import Inbox
from server.transport.llhttp.interface import Host
from server.transport.llhttp.outbox import Outbox, fail
from server.transport.llhttp.state import (
    ANSWERING,
    CLOSING,
    DISCARDING_BODY,
    IDLE,
    READING_BODY,
    READING_HEAD,
    State,
)
from server.transport.llhttp.tornado_bridge import TornadoExchange
from server.transport.sockets import unsent_in_kernel

NEVER: Final = float("inf")

_BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_NOT_READING: Final = (ANSWERING, CLOSING)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """Answers the requests of a client in their order, one in progress at a time.

    `State` has the table of what it does when. All timeouts are one moment, `deadline` by the
    loop's clock, that the server's sweep compares with its own.
    """

    __slots__ = (
        "_body",
        "_exchange",
        "_head",
        "_host",
        "_id",
        "_inbox",
        "_is_last",
        "_outbox",
        "_started",
        "_state",
        "_transport",
        "deadline",
        "protocol",
        "remote_ip",
    )

    def __init__(self, host: Host) -> None:
        self.deadline = NEVER
        self.remote_ip = "0.0.0.0"  # noqa: S104  # as Tornado calls a client on a Unix socket
        self.protocol = "http"
        self._host = host
        self._transport: asyncio.Transport
        self._inbox: Inbox
        self._outbox: Outbox
        self._state: State = IDLE
        self._head: Head | None = None  # of a request whose body arrives or that is in progress
        self._body: Body | None = None
        self._exchange: EndpointRun | TornadoExchange | None = None  # what is in progress
        self._id = ""
        self._started = 0.0
        self._is_last = False  # the connection closes behind the answer in progress

    # What the event loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse to when there are too many connections."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of it
        self._inbox = Inbox(self._transport)
        self._outbox = Outbox(self._transport)
        address = transport.get_extra_info("peername")
        if isinstance(address, tuple):
            self.remote_ip = address[0]
        if transport.get_extra_info("ssl_object"):
            self.protocol = "https"
        self.deadline = self._host.loop.time() + self._host.limits.idle_timeout_s
        if self._host.admit(self):
            return
        if self._host.turns_away(self):
            refusal = problem(TooManyConnections(), request_id({}))
            self._transport.write(self._host.to_bytes(refusal, "Connection: close\r\n"))
            self.linger()
        else:
            self.cut()

    def connection_lost(self, _: Exception | None) -> None:
        """Let go of everything."""
        self._abandon()
        self._host.forget(self)
        self._outbox.fail_writers()

    def eof_received(self) -> None:
        """Take the end of the client's sending side for its leaving; the transport closes."""
        self._abandon()

    def data_received(self, data: bytes) -> None:
        """Use what has arrived, or keep it for later."""
        if self._state is CLOSING:
            if self._inbox.discard(len(data)):
                self.cut()
            return
        self._inbox.add(data)
        self._advance()

    def pause_writing(self) -> None:
        """Hear that the client reads too slowly: it gets no further answers for now."""
        self._outbox.pause()

    def resume_writing(self) -> None:
        """Hear that it has caught up."""
        self._outbox.resume()
        self._advance()

    # What the server and a request in progress say.

    def is_over(self, now: float) -> bool:
        """Tell whether a time limit has passed; the sweep asks a few times a second.

        While a client takes its answer, only standing still counts.
        """
        unsent = self._transport.get_write_buffer_size()
        if self.protocol == "https":  # what is encrypted has left the transport that we know
            unsent += unsent_in_kernel(self._descriptor())
        stalled = self._outbox.stalled_seconds(unsent, now)
        if stalled is None:
            return self.deadline <= now
        if not self._outbox.unsent and self.deadline < now:  # all is sent since the last sweep
            self.deadline = now + LINGER_SECONDS
        return stalled > self._host.limits.body_timeout_s

    def unread_socket(self) -> int | None:
        """Return the socket, if nobody reads from it for now and so nobody would see its end."""
        if self._inbox.is_reading or self._state is CLOSING:
            return None
        return self._descriptor()

    def close(self, seconds: float = LINGER_SECONDS) -> None:
        """End the connection once all that was written is sent.

        A client that knows TLS has so many seconds to say its farewell; idle ones never do.
        """
        if self._state is CLOSING:
            return
        if not self._inbox.is_reading or self._inbox.data:
            self.linger()
        else:
            self._state = CLOSING
            self.deadline = self._host.loop.time() + seconds
            self._transport.close()

    def linger(self) -> None:
        """End our side, and drop what still comes: to close with data unread resets a connection.

        A client would not see its last answer then.
        """
        self._state = CLOSING
        self._inbox.clear()
        self.deadline = self._host.loop.time() + LINGER_SECONDS
        if not self._transport.can_write_eof():  # TLS says its farewell itself
            self._transport.close()
            return
        self._transport.write_eof()
        self._inbox.steer_reading(is_busy=False)

    def cut(self) -> None:
        """End the connection now."""
        self._state = CLOSING
        self._transport.abort()

    def write(self, data: bytes) -> asyncio.Future[None]:
        """Send; the future is done when there is room for more."""
        future = self._host.loop.create_future()
        if self._state is CLOSING:
            return fail(future)
        self._outbox.write(data, future)
        return future

    def connection_option(self) -> str:
        """Return the field that tells what becomes of the connection after this answer."""
        head = self._head
        assert head is not None
        if self._is_last or not head.keep_alive or self._host.closes_after_answers:
            self._is_last = True
            return "Connection: close\r\n"
        return "Connection: keep-alive\r\n" if head.is_http_1_0 else ""

    def close_after_answer(self) -> None:
        """Let the end of the connection be the end of this answer."""
        self._is_last = True

    def end_request(self) -> None:
        """Go on with the next request, once the answer is written."""
        host, inbox = self._host, self._inbox
        host.activity.end(self)
        self._head = self._body = self._exchange = None
        if self._state is CLOSING:
            return
        self._state = IDLE
        if self._is_last:
            self.close(host.limits.body_timeout_s)
            return
        self.deadline = host.loop.time() + host.limits.idle_timeout_s
        if inbox.data:
            host.loop.call_soon(self._advance)  # other connections have their turn in between
        elif not inbox.is_reading:
            inbox.steer_reading(is_busy=False)

    def refuse_bytes(self) -> None:
        """Answer what is no HTTP."""
        if self._state is not CLOSING:
            self._host.activity.end(self)
            self._transport.write(_BAD_REQUEST)
            self.linger()

    # Reading.

    def _advance(self) -> None:
        """Read on until a request is in progress, or more must arrive."""
        inbox, outbox = self._inbox, self._outbox
        try:
            while inbox.data and self._state not in _NOT_READING and outbox.is_writable:
                if not (self._read_body(self._body) if self._body else self._read_head()):
                    break
        except BadRequest:
            if self._state is DISCARDING_BODY:  # and has been answered
                self.linger()
            else:
                self.refuse_bytes()
        if inbox.data or not inbox.is_reading:
            is_between = self._state is IDLE or self._state is READING_HEAD
            inbox.steer_reading(is_busy=not (is_between and outbox.is_writable))

    def _read_head(self) -> bool:
        """Read the head of the next request; False when that will do for now."""
        host = self._host
        request = self._inbox.read_request(host.limits)
        if request is None:
            if self._state is IDLE:
                self._state = READING_HEAD
                self.deadline = host.loop.time() + host.limits.header_timeout_s
            return False
        head, body = request
        self._head = head
        self._is_last = False
        self._started = time.perf_counter()
        host.activity.begin(self)
        if body is None:
            self._expect_body(head)
            return True
        self._start(head, body)
        return False

    def _expect_body(self, head: Head) -> None:
        """Prepare for a body that is not all there yet."""
        self.deadline = self._host.loop.time() + self._host.limits.body_timeout_s
        self._state = READING_BODY
        self._body = ChunkedBody() if head.chunked else LengthBody(head.length)
        if head.length > self._host.limits.max_body_bytes:
            self._refuse_body(head)
        elif head.expects_continue:
            self._transport.write(_CONTINUE)

    def _read_body(self, body: Body) -> bool:
        """Read on in a body, and start the request at its end; False when that will do for now."""
        assert self._head is not None
        inbox = self._inbox
        inbox.use(body.feed(inbox.data, inbox.position))
        is_behind = bool(inbox.data) and not body.is_complete
        limit = self._host.limits.max_body_bytes
        if body.size > limit and self._state is not DISCARDING_BODY:
            self._refuse_body(self._head)
        if self._state is DISCARDING_BODY:
            self._throw_away(body)
        elif body.is_complete:
            self._start(self._head, body.take())
            return False
        if is_behind:
            self._host.loop.call_soon(self._advance)  # other connections have their turn
        return not is_behind

    def _refuse_body(self, head: Head) -> None:
        """Answer 413; then throw the body away, because a client that sends does not read yet."""
        self._state = DISCARDING_BODY
        limit = self._host.limits.max_body_bytes
        error = BodyTooLarge(f"The body is larger than {limit} bytes.")
        refusal = self._host.endpoints.refuse(head.route, error, head.fields)
        self._id = refusal.headers["X-Request-ID"]
        comes_later = head.expects_continue and not head.chunked  # has not sent it and need not
        self._is_last = comes_later
        self._send(head, refusal)
        if comes_later:
            self.end_request()

    def _throw_away(self, body: Body) -> None:
        body.take()
        if body.is_complete:
            self.end_request()
        elif body.size > MAX_DISCARDED_BYTES:
            self.cut()

    # Answering.

    def _start(self, head: Head, body: bytes) -> None:
        """Begin to answer: straight by an endpoint where there is one, else through Tornado."""
        self._state = ANSWERING
        self.deadline = NEVER
        endpoint = self._host.endpoints.get(head.route)
        if endpoint is None:
            self._exchange = TornadoExchange(self, head, body, self._host.application)
            self._exchange.start()
            return
        self._id = request_id(head.fields)
        request = Request(self._id, head.fields, body)
        self._exchange = EndpointRun(endpoint(request), self._answer)
        self._exchange.start()

    def _answer(self, response: Response) -> None:
        assert self._head is not None
        self._send(self._head, response)
        self.end_request()

    def _send(self, head: Head, response: Response) -> None:
        """Write an answer, and its line in the access log."""
        option = self.connection_option()
        self._transport.write(self._host.to_bytes(response, option, head.method))
        self._log(head, response.status)

    def _abandon(self) -> None:
        """Withdraw the request in progress: its client has left."""
        self._state = CLOSING
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        self._host.activity.end(self)
        if exchange is not None and not isinstance(exchange, TornadoExchange):
            assert self._head is not None
            self._log(self._head, CLIENT_LEFT)

    def _log(self, head: Head, status: int) -> None:
        seconds = time.perf_counter() - self._started
        self._host.log_access(head.method, head.path, status, seconds, self._id, self.remote_ip)

    def _descriptor(self) -> int:
        descriptor: int = self._transport.get_extra_info("socket").fileno()
        return descriptor
