"""Forms as clients write them."""

from __future__ import annotations

import time
from contextlib import suppress

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
    with pytest.raises(InvalidRequest, match="without Content-Transfer-Encoding"):
        parts_of(form(f"{NAME}\r\nContent-Transfer-Encoding:{encoding}"), FORM)


@pytest.mark.parametrize(
    "parameters, name",
    [
        ('name="image"; filename="a.jpg"', "image"),
        ("name=image; filename=a.jpg; filename*=utf-8''a.jpg", "image"),  # .NET
        ("name=image", "image"),
        ('name = "an image"', "an image"),
        ('name="a %22b%22 c%0D%0Ad"', 'a "b" c\r\nd'),  # browsers
        ('name="a \\"b\\" \\\\ c"', 'a "b" \\ c'),  # curl --form-escape
        ('filename="a.jpg"; name="image"', "image"),
        ("filename=my cat.jpg; filename*=utf-8''%3Bname=x; name=image", "image"),
        ('filename="; name=x; name=\\"y\\""; name="image"', "image"),
        ('name="image"; name="other"', "image"),
    ],
)
def test_a_part_has_the_name_of_its_parameter(parameters: str, name: str) -> None:
    assert parts_of(form(f"content-disposition:form-data; {parameters}"), FORM)[0].name == name


@pytest.mark.parametrize(
    "head",
    [
        "Content-Type: image/png",
        "Content-Disposition: form-data",
        "Content-Disposition: form-data; filename=a.jpg",
        "Content-Disposition: form-data; name*=utf-8''image",
        'Content-Disposition: form-data; name="image',
        "Content-Disposition: form-data; name=",
        'Content-Disposition: form-data; filename="name=image"',
        'Content-Disposition: form-data\r\nX: ; name="image"',
        'Content-Disposition: attachment; name="image"',
        f"X: {4096 * 'x'}\r\n{NAME}",
    ],
)
def test_a_part_without_a_name_is_rejected(head: str) -> None:
    with pytest.raises(InvalidRequest, match="Each part of a form needs the header"):
        parts_of(form(head), FORM)


def test_long_heads_take_little_time() -> None:
    """They have up to 4 KB, in each of up to 1,000 parts."""
    disposition = "Content-Disposition: form-data"
    heads = [
        f"{disposition}{repeated * (4000 // len(repeated))}"
        for repeated in (
            "; ",
            ";name",
            '; name="\\',
            "; a=b",
            '; a="b',
            "; a",
            f"\r\n{disposition}",
        )
    ]
    body = form(*heads * 100)
    started = time.process_time()

    with pytest.raises(InvalidRequest):
        parts_of(body, FORM)
    for head in heads:
        with suppress(InvalidRequest):
            parts_of(form(*[head] * 900), FORM)

    assert time.process_time() - started < 1


COMPLETE = form(NAME)


@pytest.mark.parametrize(
    "body, content_type, words",
    [
        (COMPLETE, "multipart/form-data", "do not set it then"),
        (COMPLETE, f"multipart/form-data; boundary={71 * 'x'}", "up to 70 characters"),
        (COMPLETE, "multipart/form-data; boundary=x y", "needs a boundary"),
        (COMPLETE, "multipart/form-data; boundary=y", "its last line is not --y--"),
        (COMPLETE[:-5], FORM, "its last line is not --x--"),
        (COMPLETE.replace(b"\r\n", b"\n"), FORM, "After --x, a form needs CR LF"),
        (b"", FORM, "its last line is not --x--"),
        (b"--x--", FORM, "The form has no parts"),
        (COMPLETE.replace(b"\r\n\r\n", b"\r\n"), FORM, "an empty line after its headers"),
        (form(f"{NAME}\r\nContent-Type: multipart/mixed; boundary=y"), FORM, "a part of its own"),
        (form(*[NAME] * 1001), FORM, "more than 1000 parts"),
    ],
)
def test_the_error_says_what_is_wrong_with_a_form(
    body: bytes, content_type: str, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parts_of(body, content_type)


@pytest.mark.parametrize(
    "parameters, boundary",
    [
        (f"boundary={70 * 'y'}", 70 * "y"),
        ('charset=utf-8; Boundary="a b"', "a b"),
        ('boundary="a;b" ; charset=utf-8', "a;b"),
        ("boundary=a; boundary=b", "a"),
    ],
)
def test_boundaries_are_found_in_the_content_type(parameters: str, boundary: str) -> None:
    body = COMPLETE.replace(b"--x", b"--" + boundary.encode())

    assert parts_of(body, f"multipart/form-data; {parameters}") == [Part("image", b"a body")]
