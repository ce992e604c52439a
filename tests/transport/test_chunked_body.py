"""Chunked bodies are decoded whatever pieces they arrive in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.transport.llhttp.body import (
    BYTES_PER_TURN,
    MAX_EXTRA_BYTES,
    MAX_LINE_BYTES,
    ChunkedBody,
)
from server.transport.llhttp.head import BadRequest

SOUND = {
    "one chunk": (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "no chunk": (b"0\r\n\r\n", b""),
    "line ends in a chunk": (b"8\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n" * 4),
    "an end in a chunk": (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    "capital and small digits": (
        b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        b"0123456789" * 2,
    ),
    "zeros before the size": (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    "extensions": (b'5;a;b=c; d="e;\\"f";g="\xc3\xa9"\r\nhello\r\n0;last\r\n\r\n', b"hello"),
    "trailers": (b"5\r\nhello\r\n0\r\nA: b\r\nContent-Length: 9\r\nEmpty:\r\n\r\n", b"hello"),
}
BROKEN = {
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "space behind": b"5 \r\nhello\r\n0\r\n\r\n",
    "space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "no size but an extension": b";a=b\r\nhello\r\n0\r\n\r\n",
    "a size of 17 digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "no number": b"g\r\nhello\r\n0\r\n\r\n",
    "a line end without CR behind the size": b"5\nhello\r\n0\r\n\r\n",
    "a line end without LF behind the size": b"5\rhello\r\n0\r\n\r\n",
    "a line end without CR behind the chunk": b"5\r\nhello\n0\r\n\r\n",
    "a chunk that is too long": b"5\r\nhello!\r\n0\r\n\r\n",
    "a chunk that is too short": b"6\r\nhello\r\n0\r\n\r\n",
    "LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a\x00\r\nhello\r\n0\r\n\r\n",
    "an extension without a name": b"5;\r\nhello\r\n0\r\n\r\n",
    "an extension whose quotes do not end": b'5;a="b\r\nhello\r\n0\r\n\r\n',
    "an end without CR": b"5\r\nhello\r\n0\n\n",
    "an end whose last line has no CR": b"5\r\nhello\r\n0\r\n\n",
    "a trailer without colon": b"0\r\nabc\r\n\r\n",
    "a trailer without name": b"0\r\n: a\r\n\r\n",
    "a space before a trailer's colon": b"0\r\nA : b\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "LF in a trailer": b"0\r\nA: b\nC: d\r\n\r\n",
    "CR in a trailer": b"0\r\nA: b\rC: d\r\n\r\n",
    "a line that is too long": b"5;a=" + b"b" * MAX_LINE_BYTES + b"\r\nhello\r\n0\r\n\r\n",
    "too many extensions": b"1;%b\r\nh\r\n" % (b"a" * 1000) * 17 + b"0\r\n\r\n",
    "too many trailers": b"0\r\n" + b"A: b\r\n" * (MAX_EXTRA_BYTES // 6 + 1) + b"\r\n",
}
NEXT = b"POST /predict HTTP/1.1\r\n\r\n"


def decoded(data: bytes, cuts: list[int]) -> tuple[bytes, bytes] | None:
    """Return the content and the bytes after it; None when rejected or incomplete."""
    body, content = ChunkedBody(), b""
    edges = [0, *sorted(cuts), len(data)]
    for start, stop in pairwise(edges):
        piece, position = data[start:stop], 0
        while position < len(piece):
            try:
                position = body.feed(piece, position)
            except BadRequest:
                return None
            content += body.take()
            if body.is_complete:
                return content, piece[position:] + data[stop:]
    return None


@pytest.mark.parametrize("data, content", SOUND.values(), ids=SOUND.keys())
def test_the_content_is_found_wherever_the_body_is_split(data: bytes, content: bytes):
    for cut in range(len(data) + 1):
        assert decoded(data + NEXT, [cut]) == (content, NEXT)
    assert decoded(data + NEXT, [*range(len(data))]) == (content, NEXT)


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_an_ambiguous_body_is_rejected_wherever_it_is_split(data: bytes):
    for cut in range(min(len(data), 100) + 1):
        assert decoded(data + NEXT, [cut]) is None
    assert decoded(data + NEXT, [*range(len(data))]) is None


@given(chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=20), data=st.data())
def test_any_content_is_found_in_any_chunks_and_any_pieces(
    chunks: list[bytes], data: st.DataObject
):
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=8))

    assert decoded(wire + NEXT, cuts) == (b"".join(chunks), NEXT)


@pytest.mark.parametrize(
    "data",
    [b"1\r\na\r\n" * 2**15, b"4\r\n\r\n\r\n\r\n" * 2**14, b"40000\r\n" + b"\r\n" * 2**17],
    ids=["chunks of one byte", "chunks of line ends", "one chunk"],
)
def test_no_more_than_bytes_per_turn_are_decoded_at_a_time(data: bytes):
    """Many small chunks would block the event loop."""
    body, position = ChunkedBody(), 0
    while position < len(data):
        used = body.feed(data, position) - position
        assert 0 < used <= BYTES_PER_TURN
        position += used
    assert not body.is_complete
