"""The bytes that a connection has written and its client has not taken."""

from __future__ import annotations

import asyncio

import pytest
from tornado.iostream import StreamClosedError

from server.transport.llhttp.outbox import Outbox


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Have no limits: the tests pause and resume the outbox."""


def future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


@pytest.mark.gen_test
async def test_a_writer_waits_only_while_there_is_no_room() -> None:
    transport = FakeTransport()
    outbox = Outbox(transport)
    first, second, third = future(), future(), future()

    outbox.write(b"first", first)
    assert first.done()

    outbox.pause()
    outbox.write(b"second", second)
    outbox.write(b"third", third)
    third.cancel()
    assert not second.done()

    outbox.resume()
    assert second.result() is None
    assert transport.written == [b"first", b"second", b"third"]


@pytest.mark.gen_test
async def test_waiting_writers_fail_when_the_connection_is_closed() -> None:
    outbox = Outbox(FakeTransport())
    waiting, cancelled = future(), future()
    outbox.pause()
    outbox.write(b"1", waiting)
    outbox.write(b"2", cancelled)
    cancelled.cancel()

    outbox.fail_writers()

    with pytest.raises(StreamClosedError):
        await waiting


def test_a_client_that_has_taken_everything_is_not_stalled() -> None:
    outbox = Outbox(FakeTransport())

    assert outbox.stalled_seconds(0, now=1) is None
    assert outbox.stalled_seconds(0, now=2) is None


def test_a_client_is_stalled_for_as_long_as_it_takes_nothing() -> None:
    outbox = Outbox(FakeTransport())

    assert [outbox.stalled_seconds(9, now) for now in (1, 2, 4)] == [0, 1, 3]
    assert [outbox.stalled_seconds(8, now) for now in (5, 6)] == [0, 1]


def test_the_call_after_the_last_byte_is_progress_and_the_next_is_none() -> None:
    outbox = Outbox(FakeTransport())
    outbox.stalled_seconds(9, now=1)

    assert (outbox.stalled_seconds(0, now=5), outbox.unsent) == (0, 0)
    assert outbox.stalled_seconds(0, now=6) is None
