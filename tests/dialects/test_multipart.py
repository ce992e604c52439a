"""Forms as clients write them."""

from __future__ import annotations

import pytest

from server.dialects.native.multipart import Part, parts_of
from server.errors import InvalidRequest

FORM = "multipart/form-data; boundary=x"
NAME = 'Content-Disposition: form-data; name="image"'


def form(*heads: str, body: bytes = b"a body") -> bytes:
    """Return a form with a part for each head."""
    pieces = [b"--x\r\n%b\r\n\r\n%b\r\n" % (head.encode(), body) for head in heads]
    return b"".join([*pieces, b"--x--\r\n"])


@pytest.mark.parametrize("encoding", ["binary", "8bit", "7bit", " 8BIT", "\tbinary "])
@pytest.mark.parametrize("order", [1, -1])
def test_an_encoding_that_changes_nothing_is_accepted(encoding: str, order: int) -> None:
    """Apache HttpClient and multipart-post for Ruby name one."""
    head = "\r\n".join([NAME, f"Content-Transfer-Encoding: {encoding}"][::order])

    assert parts_of(form(head), FORM) == [Part("image", b"a body")]


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "binary64", "", '"base64"'])
def test_other_encodings_are_rejected(encoding: str) -> None:
    with pytest.raises(InvalidRequest, match="without an encoding"):
        parts_of(form(f"{NAME}\r\nContent-Transfer-Encoding:{encoding}"), FORM)
