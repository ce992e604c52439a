"""Forms as browsers and `curl -F` send them: `multipart/form-data` (RFC 7578)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from server.errors import InvalidRequest

MEDIA_TYPE: Final = "multipart/form-data"
MAX_PARTS: Final = 1000
MAX_HEADER: Final = 4096
_BOUNDARY: Final = re.compile(
    r';\s*boundary=(?:"([^"\r\n]{1,70})"|([!#-+\--:<-~]{1,70}))\s*(?:;|$)',
    re.IGNORECASE | re.ASCII,
)
_QUOTED: Final = rb'"(?:[^"\\\r\n]|\\.)*+"'
_OTHER: Final = (
    rb'[ \t]*+;[ \t]*+(?!name[ \t]*=)[^\s=;"]++[ \t]*+=[ \t]*+(?:%b|[^";\r\n]*+)' % _QUOTED
)
# .NET writes names without quotes, and some clients write the name of the file before.
_NAME: Final = re.compile(
    rb"^content-disposition[ \t]*:[ \t]*form-data(?:%b)*+[ \t]*;[ \t]*name[ \t]*=[ \t]*"
    rb'(%b|[^\s";]+)' % (_OTHER, _QUOTED),
    re.IGNORECASE | re.MULTILINE,
)
_ENCODED: Final = re.compile(
    rb"^content-transfer-encoding[ \t]*:[ \t]*+(?!(?:binary|8bit|7bit)[ \t]*\r?$)",
    re.IGNORECASE | re.MULTILINE,
)
_NESTED: Final = re.compile(rb"^content-type[ \t]*:[ \t]*multipart/", re.IGNORECASE | re.MULTILINE)
# As browsers write these characters (https://html.spec.whatwg.org/#multipart-form-data).
_ESCAPES: Final = {"%22": '"', "%0D": "\r", "%0A": "\n", '\\"': '"', "\\\\": "\\"}
_ESCAPED: Final = re.compile("|".join(map(re.escape, _ESCAPES)))


class Part(NamedTuple):
    """A part of a form."""

    name: str
    body: bytes


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """Return the parts of a form; raises InvalidRequest unless it is complete."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise InvalidRequest(
            f"{MEDIA_TYPE} needs a boundary of up to 70 characters in its Content-Type. Most "
            "clients write this header themselves; do not set it then."
        )
    delimiter = b"\r\n--" + (found[1] or found[2]).encode()
    # The first one needs no line end before it. What is before it, and after the last, is ignored.
    pieces = (b"\r\n" + body).split(delimiter, MAX_PARTS + 2)
    if len(pieces) > MAX_PARTS + 2:
        raise InvalidRequest(f"The form has more than {MAX_PARTS} parts.")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise InvalidRequest(_why_incomplete(body, delimiter))
    parts = [_part_of(piece) for piece in pieces[1:-1]]
    if not parts:
        raise InvalidRequest("The form has no parts.")
    return parts


def _why_incomplete(body: bytes, delimiter: bytes) -> str:
    line = delimiter.strip().decode()
    if delimiter[1:] + b"\n" in b"\n" + body:
        return f"After {line}, a form needs CR LF as the end of the line, not LF alone."
    return f"The form is not complete: its last line is not {line}--."


def _part_of(piece: bytes) -> Part:
    """Return a part of what is between two delimiters; raises InvalidRequest."""
    padding, line_end, rest = piece.partition(b"\r\n")
    head, end, body = (b"\r\n" + rest).partition(b"\r\n\r\n")
    name = _NAME.search(head) if len(head) <= MAX_HEADER else None
    if padding.strip(b" \t") or not line_end or not end or name is None:
        raise InvalidRequest(
            "Each part of a form needs the header "
            'Content-Disposition: form-data; name="…", and an empty line after its headers.'
        )
    if _ENCODED.search(head):
        raise InvalidRequest(
            "Send the parts of a form as they are, without Content-Transfer-Encoding."
        )
    if _NESTED.search(head):
        raise InvalidRequest("Send each file as a part of its own, not as parts of a part.")
    return Part(_unquoted(name[1].decode(errors="replace")), body)


def _unquoted(name: str) -> str:
    if not name.startswith('"'):
        return name
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0]], name[1:-1])
