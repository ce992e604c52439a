"""The bytes that a connection has received and not used yet."""

from __future__ import annotations

import asyncio

import pytest

from server.config import HttpSettings
from server.transport.interface import MAX_DISCARDED_BYTES
from server.transport.llhttp.head import BadRequest
from server.transport.llhttp.inbox import Inbox

LIMITS = HttpSettings(max_header_bytes=100, max_body_bytes=10)
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"


class FakeTransport(asyncio.Transport):
    """Notes which of its methods were called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.is_closed = False

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def is_closing(self) -> bool:
        return self.is_closed


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def inbox(transport: FakeTransport) -> Inbox:
    return Inbox(transport)


def test_a_whole_request_is_read_and_what_follows_it_is_kept(inbox: Inbox) -> None:
    inbox.add(HEAD + b"body" + HEAD[:9])

    request = inbox.read_request(LIMITS)

    assert request is not None
    assert (request[0].length, request[1]) == (4, b"body")
    assert inbox.data[inbox.position :] == HEAD[:9]


def test_data_is_empty_once_all_of_it_is_used(inbox: Inbox) -> None:
    inbox.add(HEAD + b"body")
    inbox.read_request(LIMITS)

    assert (inbox.data, inbox.position) == (b"", 0)


def test_a_head_in_two_pieces_is_read_once_it_is_complete(transport: FakeTransport) -> None:
    for size in range(1, len(HEAD)):
        inbox = Inbox(transport)
        inbox.add(HEAD[:size])
        assert inbox.read_request(LIMITS) is None

        inbox.add(HEAD[size:] + b"body")
        request = inbox.read_request(LIMITS)

        assert request is not None
        assert request[1] == b"body"


def test_the_head_of_an_incomplete_body_is_read_without_the_body(inbox: Inbox) -> None:
    inbox.add(HEAD + b"bo")

    request = inbox.read_request(LIMITS)

    assert request is not None
    assert request[1] is None
    assert inbox.data[inbox.position :] == b"bo"


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["too large", "in chunks"],
)
def test_a_body_that_is_too_large_or_in_chunks_is_left_unread(inbox: Inbox, head: bytes) -> None:
    inbox.add(head + b"more than ten bytes")

    request = inbox.read_request(LIMITS)

    assert request is not None
    assert request[1] is None
    assert inbox.data[inbox.position :] == b"more than ten bytes"


def test_empty_lines_before_a_head_are_dropped(inbox: Inbox) -> None:
    inbox.add(b"\r\n\r\n")
    assert inbox.read_request(LIMITS) is None
    assert inbox.data == b""

    inbox.add(b"\r\n" + HEAD + b"body")
    request = inbox.read_request(LIMITS)

    assert request is not None
    assert request[1] == b"body"


@pytest.mark.parametrize(
    "data",
    [
        b"no request\r\n",
        b"GET / HTTP/1.1\nHost",
        b"GET /" + b"a" * 100,
        b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["no request", "half a line end", "too long, incomplete", "too long, complete"],
)
def test_a_head_that_cannot_become_valid_is_rejected(inbox: Inbox, data: bytes) -> None:
    inbox.add(data)

    with pytest.raises(BadRequest):
        inbox.read_request(LIMITS)


def test_data_that_arrives_later_follows_what_is_unread(inbox: Inbox) -> None:
    inbox.add(b"used, unread")
    inbox.use(6)
    inbox.add(b", new")

    assert (inbox.data, inbox.position) == (b"unread, new", 0)


def test_reading_pauses_while_unread_bytes_wait_for_a_busy_connection(
    inbox: Inbox, transport: FakeTransport
) -> None:
    inbox.steer_reading(is_busy=True)
    assert transport.calls == []  # nothing is unread

    inbox.add(b"unread")
    inbox.steer_reading(is_busy=False)
    assert transport.calls == []

    inbox.steer_reading(is_busy=True)
    inbox.steer_reading(is_busy=True)
    assert (transport.calls, inbox.is_reading) == (["pause"], False)

    inbox.clear()
    inbox.steer_reading(is_busy=True)
    assert (transport.calls, inbox.is_reading) == (["pause", "resume"], True)


def test_reading_of_a_closing_transport_is_left_alone(
    inbox: Inbox, transport: FakeTransport
) -> None:
    inbox.add(b"unread")
    transport.is_closed = True
    inbox.steer_reading(is_busy=True)

    assert (transport.calls, inbox.is_reading) == ([], True)


def test_too_many_discarded_bytes_are_told(inbox: Inbox) -> None:
    assert not inbox.discard(MAX_DISCARDED_BYTES)
    assert inbox.discard(1)
