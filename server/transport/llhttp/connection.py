"""One client connection: bytes in, one request at a time, bytes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from server.http.message import CLIENT_LEFT, Request, Response, replaced_id, request_id
from server.http.rejections import REQUEST_LINE_BYTES, Reject
from server.logs import Access
from server.transport.interface import LINGER_SECONDS, MAX_DISCARDED_BYTES, is_steady
from server.transport.llhttp.body import Body, ChunkedBody, LengthBody
from server.transport.llhttp.endpoint_run import EndpointRun
from server.transport.llhttp.head import BadRequest, Head, HeadTooLong
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

_NOT_READING: Final = (ANSWERING, CLOSING)
_RECEIVING: Final = (READING_BODY, DISCARDING_BODY)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """Answers the requests of a client in order, one at a time.

    `State` has the table of states. All timeouts share one field: the server closes the connection
    when the loop's clock has passed `deadline`.

    Args:
        unencrypted: the beginning of a request that came without TLS where it is required; the
            connection rejects it.
    """

    __slots__ = (
        "_arrived",
        "_body",
        "_counted",
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
        "_unencrypted",
        "deadline",
        "protocol",
        "remote_ip",
    )

    def __init__(self, host: Host, unencrypted: bytes = b"") -> None:
        self.deadline = NEVER
        self.remote_ip = "0.0.0.0"  # noqa: S104  # Tornado's value for Unix sockets
        self.protocol = "http"
        self._host = host
        self._unencrypted = unencrypted
        self._transport: asyncio.Transport
        self._inbox: Inbox
        self._outbox: Outbox
        self._state: State = IDLE
        self._head: Head | None = None  # of the request that is arriving or in progress
        self._body: Body | None = None
        self._arrived = 0  # bytes of an incomplete body, as they are counted over all connections
        self._counted = 0  # bytes of the body that have arrived before its current time limit
        self._exchange: EndpointRun | TornadoExchange | None = None  # what is in progress
        self._id = ""
        self._started = 0.0
        self._is_last = False  # close the connection after the current answer

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, or reject it: without TLS, or when there are too many connections."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of it
        self._inbox = Inbox(self._transport)
        self._outbox = Outbox(self._transport)
        address = transport.get_extra_info("peername")
        if isinstance(address, tuple):
            self.remote_ip = address[0]
        if transport.get_extra_info("ssl_object"):
            self.protocol = "https"
        self.deadline = self._host.loop.time() + self._host.limits.idle_timeout_s
        rejections = self._host.rejections
        if self._unencrypted:
            rejection = rejections.plain_http(self.remote_ip, self._unencrypted)
        elif self._host.admit(self):
            return
        else:
            rejection = rejections.too_many_connections(self.remote_ip)
        if self._host.add_rejected(self):
            self._send_last(rejection)
        else:
            self.abort()

    def connection_lost(self, _: Exception | None) -> None:
        """Cancel the request in progress and release everything."""
        self._cancel_request()
        self._count_arrived(0)
        self._host.remove(self)
        self._outbox.fail_writers()
        self._outbox.release()

    def eof_received(self) -> None:
        """Treat a half-closed peer as disconnected; asyncio closes the transport."""
        self._cancel_request()

    def data_received(self, data: bytes) -> None:
        if self._state is CLOSING:
            if self._inbox.discard(len(data)):
                self.abort()
            return
        self._inbox.add(data)
        self._advance()

    def pause_writing(self) -> None:
        self._outbox.pause()

    def resume_writing(self) -> None:
        self._outbox.resume()
        self._release_if_sent()
        self._advance()

    # Called by the server and by the request in progress.

    def is_timed_out(self, now: float) -> bool:
        """Return whether a time limit has passed. While a client reads, only a stall counts."""
        unsent = self._unsent()
        if not unsent:
            self._outbox.release()
        stalled = self._outbox.stalled_seconds(unsent, now)
        if stalled is None:
            return self.deadline <= now and not self._body_goes_on(now)
        if (
            not self._outbox.unsent and self.deadline < now
        ):  # everything was sent since the last call
            self.deadline = now + LINGER_SECONDS
        return stalled > self._host.limits.body_timeout_s

    def time_out(self) -> None:
        """Close, because a time limit has passed; answer 408 if a request is incomplete."""
        if self._outbox.unsent:
            self.abort()
        elif self._state is READING_HEAD:
            self._reject_head(self._host.rejections.late_headers)
        elif self._state is READING_BODY:
            assert self._head is not None
            head = self._head
            self._end_with(head, self._host.rejections.late_body(head.route, head.fields))
        else:
            self.abort()

    def paused_socket(self) -> int | None:
        """Return the file descriptor while reading is paused, and a disconnect goes unnoticed."""
        if self._inbox.is_reading or self._state is CLOSING:
            return None
        return self._descriptor()

    def close(self, seconds: float = LINGER_SECONDS) -> None:
        """Close once all that was written is sent.

        Over TLS, wait up to `seconds` for close_notify; idle clients never send it.
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
        """Close our side, and discard what still arrives.

        Closing with data unread resets the connection, and the client loses its last answer.
        """
        self._state = CLOSING
        self._inbox.clear()
        self.deadline = self._host.loop.time() + LINGER_SECONDS
        if not self._transport.can_write_eof():  # TLS sends close_notify instead
            self._transport.close()
            return
        self._transport.write_eof()
        self._inbox.steer_reading(is_busy=False)

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""
        self._state = CLOSING
        self._transport.abort()

    def write(self, data: bytes) -> asyncio.Future[None]:
        """Send; the future is done when the write buffer has room."""
        future = self._host.loop.create_future()
        return fail(future) if self._state is CLOSING else self._outbox.write(data, future)

    def connection_option(self) -> str:
        """Return the Connection header line of this answer, or an empty string."""
        head = self._head
        assert head is not None
        if self._is_last or not head.keep_alive or self._host.closes_after_answers:
            self._is_last = True
            return "Connection: close\r\n"
        return "Connection: keep-alive\r\n" if head.is_http_1_0 else ""

    def close_after_answer(self) -> None:
        self._is_last = True

    def end_request(self) -> None:
        """Go on with the next request, now that the answer is written."""
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
            host.loop.call_soon(self._advance)  # lets other connections run in between
        elif not inbox.is_reading:
            inbox.steer_reading(is_busy=False)

    def reject_bytes(self) -> None:
        """Answer 400 to bytes that are not a valid request, and close."""
        if self._state is not CLOSING:
            self._host.activity.end(self)
            self._transport.write(self._host.rejections.not_http(self.remote_ip))
            self.linger()

    # Reading.

    def _advance(self) -> None:
        """Read until a request is in progress, or more bytes must arrive."""
        inbox, outbox = self._inbox, self._outbox
        try:
            while inbox.data and self._state not in _NOT_READING and outbox.is_writable:
                if not (self._read_body(self._body) if self._body else self._read_head()):
                    break
        except HeadTooLong:
            self._reject_head(self._host.rejections.headers_too_large)
        except BadRequest:
            if self._state is DISCARDING_BODY:  # 413 or 503 is the answer already
                self.linger()
            else:
                self.reject_bytes()
        if inbox.data or not inbox.is_reading:
            is_between = self._state is IDLE or self._state is READING_HEAD
            inbox.steer_reading(is_busy=not (is_between and outbox.is_writable))

    def _read_head(self) -> bool:
        """Read the head of the next request; return whether to read on."""
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
        """Prepare for a body that is incomplete, or reject it as too large."""
        self.deadline = self._host.loop.time() + self._host.limits.body_timeout_s
        self._state = READING_BODY
        self._body = ChunkedBody() if head.chunked else LengthBody(head.length)
        self._counted = 0
        if head.length > self._host.limits.max_body_bytes:
            self._reject_body(head, self._host.rejections.body_too_large)
        elif head.expects_continue:
            self._ask_for_body(head)

    def _ask_for_body(self, head: Head) -> None:
        """Send 100 Continue, unless the head is enough to reject the request."""
        rejection = self._host.rejections.by_head(head.route, head.fields)
        if rejection is None:
            self._transport.write(_CONTINUE)
        else:
            self._end_with(head, rejection)

    def _read_body(self, body: Body) -> bool:
        """Read more of a body, and start the request at its end; return whether to read on."""
        assert self._head is not None
        inbox = self._inbox
        inbox.use(body.feed(inbox.data, inbox.position))
        is_behind = bool(inbox.data) and not body.is_complete
        if self._state is not DISCARDING_BODY:
            self._check_size(self._head, body)
        if self._state is DISCARDING_BODY:
            self._discard_body(body)
        elif body.is_complete:
            self._count_arrived(0)
            self._start(self._head, body.take())
            return False
        if is_behind:
            self._host.loop.call_soon(self._advance)  # lets other connections run
        return not is_behind

    def _check_size(self, head: Head, body: Body) -> None:
        """Reject a body that is too large, or that finds no memory before its end arrives."""
        rejections = self._host.rejections
        if body.size > self._host.limits.max_body_bytes:
            self._reject_body(head, rejections.body_too_large)
        elif not body.is_complete and not self._count_arrived(body.size):
            self._reject_body(head, rejections.too_many_bodies)

    def _count_arrived(self, size: int) -> bool:
        """Count bytes of an incomplete body; return False if there are too many of all of them."""
        if not self._host.rejections.arriving.resize(self._arrived, size):
            return False
        self._arrived = size
        return True

    def _reject_body(self, head: Head, reject: Reject) -> None:
        """Answer 413 or 503, and discard the body: clients read only when they have sent it."""
        rejection = reject(head.route, head.fields)
        if head.expects_continue and not head.chunked:  # the body never comes
            self._end_with(head, rejection)
            return
        self._state = DISCARDING_BODY
        self._id = rejection.headers["X-Request-ID"]
        self._send(head, rejection)

    def _discard_body(self, body: Body) -> None:
        body.take()
        self._count_arrived(0)
        if body.is_complete:
            self.end_request()
        elif body.size > MAX_DISCARDED_BYTES:
            self.abort()

    # Answering.

    def _start(self, head: Head, body: bytes) -> None:
        """Run the request: its endpoint if there is one, else Tornado."""
        self._state = ANSWERING
        self.deadline = NEVER
        self._release_if_sent()
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
        if response.reserved is not None:
            self._outbox.keep(response.reserved)
        self.end_request()

    def _end_with(self, head: Head, rejection: Response) -> None:
        """Answer a request whose body will not be read, and close."""
        self._id = rejection.headers["X-Request-ID"]
        self._is_last = True
        self._send(head, rejection)
        self._host.activity.end(self)
        self.linger()

    def _reject_head(self, reject: Callable[[str, bytes], Response]) -> None:
        """Answer a request whose head is too long or too late, and close."""
        self._send_last(reject(self.remote_ip, self._inbox.beginning(REQUEST_LINE_BYTES)))

    def _send_last(self, rejection: Response) -> None:
        """Write an answer to bytes that are no request yet, and close."""
        self._transport.write(self._host.to_bytes(rejection, "Connection: close\r\n"))
        self.linger()

    def _send(self, head: Head, response: Response) -> None:
        """Write an answer and its access line."""
        option = self.connection_option()
        self._transport.write(self._host.to_bytes(response, option, head.method))
        self._log(head, response.status)

    def _cancel_request(self) -> None:
        """Cancel the request in progress: the client has disconnected."""
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
        replaced = replaced_id(head.fields, self._id)
        entry = Access(head.method, head.path, status, seconds, self._id, self.remote_ip, replaced)
        self._host.log_access(entry)

    def _unsent(self) -> int:
        """Return how many bytes wait for the client, 0 if the kernel has all of them.

        What the kernel still has is counted, too, because it asks for more only when a third of its
        buffer is free: a slow client has then read megabytes. Over TLS the event loop does not say
        how many encrypted bytes it has, so the kernel must have sent all.
        """
        unsent = self._transport.get_write_buffer_size()
        if unsent or self.protocol == "https":
            unsent += unsent_in_kernel(self._descriptor())
        return unsent

    def _release_if_sent(self) -> None:
        if self._outbox.has_reserved and not self._unsent():
            self._outbox.release()

    def _body_goes_on(self, now: float) -> bool:
        """Return whether enough of a body has arrived in time; it has as much time again then."""
        if self._body is None or self._state not in _RECEIVING:
            return False
        if not is_steady(self._body.size - self._counted, self._host.limits):
            return False
        self._counted = self._body.size
        self.deadline = now + self._host.limits.body_timeout_s
        return True

    def _descriptor(self) -> int:
        return int(self._transport.get_extra_info("socket").fileno())
