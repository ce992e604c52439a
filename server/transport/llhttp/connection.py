"""One client's connection: bytes in, one request at a time, bytes out."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

from tornado.iostream import StreamClosedError
from tornado.web import Application

from server.config import HttpSettings
from server.errors import BodyTooLarge, TooManyConnections
from server.http.activity import Activity, LogAccess
from server.http.message import CLIENT_LEFT, Request, Response, problem, request_id
from server.logs import Access
from server.transport.interface import LINGER_SECONDS, MAX_DISCARDED_BYTES, EndpointLookup
from server.transport.llhttp.body import Body, ChunkedBody, LengthBody
from server.transport.llhttp.endpoint_run import Call
from server.transport.llhttp.head import (
    END,
    BadRequest,
    Head,
    check_beginning,
    parse_head,
    without_empty_lines,
)
from server.transport.llhttp.tornado_bridge import TornadoExchange
from server.transport.sockets import unsent_in_kernel

NEVER: Final = float("inf")

_BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Host(Protocol):
    """What a connection needs of its server.

    Attributes:
        closes_after_answers: every answer from now on ends its connection.
    """

    application: Application
    endpoints: EndpointLookup
    activity: Activity
    limits: HttpSettings
    log_access: LogAccess
    loop: asyncio.AbstractEventLoop
    closes_after_answers: bool

    def admit(self, connection: Connection) -> bool:
        """Count a new connection, unless there are too many."""

    def turns_away(self, connection: Connection) -> bool:
        """Return whether a connection that is one too many gets an answer."""

    def forget(self, connection: Connection) -> None:
        """Stop counting a connection."""

    def to_bytes(self, response: Response, option: str, method: str = "POST") -> bytes:
        """Return an endpoint's answer as a message; `option` is a header line or nothing."""


class Connection(asyncio.Protocol):
    """Answers the requests of a client in their order, one in progress at a time.

    What arrives meanwhile is kept, and nothing more is read then. All timeouts are one moment,
    `deadline` by the loop's clock, that the server's sweep compares with its own.
    """

    __slots__ = (
        "_begun",
        "_body",
        "_buffer",
        "_closing",
        "_discarded",
        "_ends",
        "_exchange",
        "_head",
        "_id",
        "_last",
        "_position",
        "_reading",
        "_refused",
        "_server",
        "_started",
        "_transport",
        "_unsent",
        "_unsent_since",
        "_writable",
        "_writers",
        "deadline",
        "protocol",
        "remote_ip",
    )

    def __init__(self, server: Host) -> None:
        self.deadline = NEVER
        self.remote_ip = "0.0.0.0"  # noqa: S104  # as Tornado calls a client on a Unix socket
        self.protocol = "http"
        self._server = server
        self._transport: asyncio.Transport
        self._buffer = b""  # what has arrived and …
        self._position = 0  # … how much of it has been used
        self._begun = False  # a head has begun to arrive
        self._head: Head | None = None  # of a request whose body arrives or that is in progress
        self._body: Body | None = None
        self._refused = False  # the body is too large, has been answered so, and is thrown away
        self._exchange: Call | TornadoExchange | None = None  # what is in progress
        self._id = ""
        self._started = 0.0
        self._ends = False  # the answer has no other end than the connection's
        self._last = False  # the answer has announced the end of the connection
        self._reading = True
        self._writable = True
        self._writers: list[asyncio.Future[None]] = []
        self._unsent = 0  # bytes that the client has not taken yet, when the sweep last looked, …
        self._unsent_since = 0.0  # … and since when it takes none of them
        self._closing = False  # nothing that arrives is of interest any more
        self._discarded = 0

    # What the event loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse to when there are too many connections."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of it
        address = transport.get_extra_info("peername")
        if isinstance(address, tuple):
            self.remote_ip = address[0]
        if transport.get_extra_info("ssl_object"):
            self.protocol = "https"
        self.deadline = self._server.loop.time() + self._server.limits.idle_timeout_s
        if self._server.admit(self):
            return
        if self._server.turns_away(self):
            refusal = problem(TooManyConnections(), request_id({}))
            self._transport.write(self._server.to_bytes(refusal, "Connection: close\r\n"))
            self.linger()
        else:
            self.cut()

    def connection_lost(self, _: Exception | None) -> None:
        """Let go of everything."""
        self._abandon()
        self._server.forget(self)
        writers, self._writers = self._writers, []
        for writer in writers:
            _fail(writer)

    def eof_received(self) -> None:
        """Take the end of the client's sending side for its leaving; the transport closes."""
        self._abandon()

    def data_received(self, data: bytes) -> None:
        """Use what has arrived, or keep it for later."""
        if self._closing:
            self._discard(len(data))
            return
        if self._position < len(self._buffer):
            data = self._buffer[self._position :] + data
        self._buffer = data
        self._position = 0
        self._advance()

    def pause_writing(self) -> None:
        """Hear that the client reads too slowly: it gets no further answers for now."""
        self._writable = False

    def resume_writing(self) -> None:
        """Hear that it has caught up."""
        self._writable = True
        writers, self._writers = self._writers, []
        for writer in writers:
            if not writer.done():
                writer.set_result(None)
        self._advance()

    # What the server and a request in progress say.

    def is_over(self, now: float) -> bool:
        """Tell whether a time limit has passed; the sweep asks a few times a second.

        While a client takes its answer, only standing still counts.
        """
        unsent = self._transport.get_write_buffer_size()
        if self.protocol == "https":  # what is encrypted has left the transport that we know
            unsent += unsent_in_kernel(self._transport.get_extra_info("socket").fileno())
        if not unsent and not self._unsent:
            return self.deadline <= now
        if unsent == self._unsent:
            return now - self._unsent_since > self._server.limits.body_timeout_s
        self._unsent, self._unsent_since = unsent, now
        if not unsent and self.deadline < now:
            self.deadline = now + LINGER_SECONDS
        return False

    def unread_socket(self) -> int | None:
        """Return the socket, if nobody reads from it for now and so nobody would see its end."""
        if self._reading or self._closing:
            return None
        descriptor: int = self._transport.get_extra_info("socket").fileno()
        return descriptor

    def close(self, seconds: float = LINGER_SECONDS) -> None:
        """End the connection once all that was written is sent.

        A client that knows TLS has so many seconds to say its farewell; idle ones never do.
        """
        if self._closing:
            return
        if not self._reading or self._position < len(self._buffer):
            self.linger()
        else:
            self._closing = True
            self.deadline = self._server.loop.time() + seconds
            self._transport.close()

    def linger(self) -> None:
        """End our side, and drop what still comes: to close with data unread resets a connection.

        A client would not see its last answer then.
        """
        self._closing = True
        self._buffer, self._position = b"", 0
        self.deadline = self._server.loop.time() + LINGER_SECONDS
        if not self._transport.can_write_eof():  # TLS says its farewell itself
            self._transport.close()
            return
        self._transport.write_eof()
        self._steer_reading()

    def cut(self) -> None:
        """End the connection now."""
        self._closing = True
        self._transport.abort()

    def write(self, data: bytes) -> asyncio.Future[None]:
        """Send; the future is done when there is room for more."""
        future = self._server.loop.create_future()
        if self._closing:
            return _fail(future)
        self._transport.write(data)
        if self._writable:
            future.set_result(None)
        else:
            self._writers.append(future)
        return future

    def connection_option(self) -> str:
        """Return the field that tells what becomes of the connection after this answer."""
        assert self._head is not None
        self._last = self._ends or not self._head.keep_alive or self._server.closes_after_answers
        if self._last:
            return "Connection: close\r\n"
        return "Connection: keep-alive\r\n" if self._head.is_http_1_0 else ""

    def close_after_answer(self) -> None:
        """Let the end of the connection be the end of this answer."""
        self._ends = True

    def end_request(self) -> None:
        """Go on with the next request, once the answer is written."""
        self._server.activity.end(self)
        self._head = self._body = self._exchange = None
        if self._closing:
            return
        if self._last:
            self.close(self._server.limits.body_timeout_s)
            return
        loop = self._server.loop
        self.deadline = loop.time() + self._server.limits.idle_timeout_s
        if self._position < len(self._buffer):
            loop.call_soon(self._advance)  # other connections have their turn in between
        elif not self._reading:
            self._steer_reading()

    def refuse_bytes(self) -> None:
        """Answer what is no HTTP."""
        if not self._closing:
            self._server.activity.end(self)
            self._transport.write(_BAD_REQUEST)
            self.linger()

    # Reading.

    def _advance(self) -> None:
        """Read on until a request is in progress, or more must arrive."""
        try:
            while (
                self._position < len(self._buffer)
                and self._exchange is None
                and self._writable
                and not self._closing
            ):
                if not (self._read_body(self._body) if self._body else self._read_head()):
                    break
        except BadRequest:
            if self._refused:  # and so answered
                self.linger()
            else:
                self.refuse_bytes()
        if not self._reading or self._position < len(self._buffer):
            self._steer_reading()

    def _steer_reading(self) -> None:
        """Read nothing more while something waits that cannot be used yet."""
        waits = self._position < len(self._buffer)
        is_busy = self._exchange is not None or self._body is not None or not self._writable
        reading = not (waits and is_busy)
        if reading is self._reading or self._transport.is_closing():
            return
        self._reading = reading
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _read_head(self) -> bool:
        """Read the head of the next request; False when that will do for now."""
        buffer, start = self._buffer, self._position
        end = buffer.find(END, start) + len(END)
        if end < len(END) or buffer[start] in b"\r\n":
            return self._wait_for_head(buffer[start:])
        if end - start > self._server.limits.max_header_bytes:
            raise BadRequest
        head = self._head = parse_head(buffer[start:end])
        self._begun = self._ends = self._last = False
        self._started = time.perf_counter()
        self._server.activity.begin(self)
        stop = end + head.length
        is_whole = len(buffer) >= stop and not head.chunked
        if is_whole and head.length <= self._server.limits.max_body_bytes:
            self._position = stop
            self._start(head, buffer[end:stop])
            return False
        self._position = end
        self._expect_body(head)
        return True

    def _wait_for_head(self, data: bytes) -> bool:
        """Keep an unfinished head that can still become one; True when there is more to read."""
        rest = without_empty_lines(data)
        self._buffer, self._position = rest, 0
        if len(rest) < len(data) and rest:
            return True
        if len(rest) > self._server.limits.max_header_bytes:
            raise BadRequest
        check_beginning(rest)
        if not self._begun:
            self._begun = True
            self.deadline = self._server.loop.time() + self._server.limits.header_timeout_s
        return False

    def _expect_body(self, head: Head) -> None:
        """Prepare for a body that is not all there yet."""
        self.deadline = self._server.loop.time() + self._server.limits.body_timeout_s
        self._body = ChunkedBody() if head.chunked else LengthBody(head.length)
        if head.length > self._server.limits.max_body_bytes:
            self._refuse_body(head)
        elif head.expects_continue:
            self._transport.write(_CONTINUE)

    def _read_body(self, body: Body) -> bool:
        """Read on in a body, and start the request at its end; False when that will do for now."""
        assert self._head is not None
        self._position = body.feed(self._buffer, self._position)
        is_behind = not body.is_complete and self._position < len(self._buffer)
        if self._position == len(self._buffer):
            self._buffer, self._position = b"", 0
        if body.size > self._server.limits.max_body_bytes and not self._refused:
            self._refuse_body(self._head)
        if self._refused:
            self._throw_away(body)
        elif body.is_complete:
            self._start(self._head, body.take())
            return False
        if is_behind:
            self._server.loop.call_soon(self._advance)  # other connections have their turn
        return not is_behind

    def _refuse_body(self, head: Head) -> None:
        """Answer 413; then throw the body away, because a client that sends does not read yet."""
        self._refused = True
        limit = self._server.limits.max_body_bytes
        error = BodyTooLarge(f"The body is larger than {limit} bytes.")
        refusal = self._server.endpoints.refuse(head.route, error, head.fields)
        self._id = refusal.headers["X-Request-ID"]
        self._ends = head.expects_continue and not head.chunked  # has not sent it and need not
        self._send(head, refusal)
        if self._ends:
            self._refused = False
            self.end_request()

    def _throw_away(self, body: Body) -> None:
        body.take()
        if body.is_complete:
            self._refused = False
            self.end_request()
        elif body.size > MAX_DISCARDED_BYTES:
            self.cut()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > MAX_DISCARDED_BYTES:
            self.cut()

    # Answering.

    def _start(self, head: Head, body: bytes) -> None:
        """Begin to answer: straight by an endpoint where there is one, else through Tornado."""
        self.deadline = NEVER
        endpoint = self._server.endpoints.get(head.route)
        if endpoint is None:
            self._exchange = TornadoExchange(self, head, body, self._server.application)
            self._exchange.start()
            return
        self._id = request_id(head.fields)
        request = Request(self._id, head.fields, body)
        self._exchange = Call(endpoint(request), self._answer)
        self._exchange.start()

    def _answer(self, response: Response) -> None:
        assert self._head is not None
        self._send(self._head, response)
        self.end_request()

    def _send(self, head: Head, response: Response) -> None:
        """Write an answer, and its line in the access log."""
        option = self.connection_option()
        self._transport.write(self._server.to_bytes(response, option, head.method))
        self._log(head, response.status)

    def _abandon(self) -> None:
        """Withdraw the request in progress: its client has left."""
        self._closing = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()
        self._server.activity.end(self)
        if exchange is not None and not isinstance(exchange, TornadoExchange):
            assert self._head is not None
            self._log(self._head, CLIENT_LEFT)

    def _log(self, head: Head, status: int) -> None:
        seconds = time.perf_counter() - self._started
        entry = Access(head.method, head.path, status, seconds, self._id, self.remote_ip)
        self._server.log_access(entry)


def _fail(future: asyncio.Future[None]) -> asyncio.Future[None]:
    """Tell a writer that the connection is closed, as Tornado's streams do."""
    if not future.done():
        future.set_exception(StreamClosedError())
        future.exception()  # whoever does not ask need not know
    return future
