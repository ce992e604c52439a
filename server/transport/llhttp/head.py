"""Strict parsing of request heads: whatever is ambiguous is rejected.

Two servers in a row that parse a request differently can be made to disagree on where the next one
begins (request smuggling). So everything that another server might parse differently is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from server.http.paths import normal_target
from server.http.tracing import trace_of
from server.transport.interface import origin_form

END: Final = b"\r\n\r\n"

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE: Final = re.compile(rb"(%b) ([\x21-\x7e\x80-\xff]+) (HTTP/1\.[01])\r\n" % TOKEN)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+;=\[\]:]|%[0-9A-Fa-f]{2})*")
_ILLEGAL: Final = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
    rb"|\r(?![\n]|\Z)|(?<!\r)\n"  # half a line end
    rb"|\n[ \t]"  # a folded line
)
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*")
_LONG_LENGTH: Final = re.compile(
    rb"(?i)(?<=\ncontent-length:)([ \t]*)0*[1-9][0-9]{18,}(?=[ \t]*\r)"
)
_TOO_LONG: Final = b"9" * 18  # the parser rejects more than 64 bits, but the right answer is 413
_CACHED_BYTES: Final = 1024


class BadRequest(Exception):
    """The bytes are not an HTTP/1.0 or 1.1 request, or are ambiguous."""


class HeadTooLong(BadRequest):
    """The head of a request is longer than the limit."""


Fields = dict[str, str]  # by lower-case name; values of the same name are joined by commas
Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request, and what it says about the body and the connection.

    Attributes:
        target: the path in normal form, and the query; without the scheme and host of a whole URL.
        version: `HTTP/1.1` or `HTTP/1.0`.
        route: the method, and the path without the query.
        pairs: the fields as they were sent; a name can occur more than once.
        length: the size of the body; 0 for a chunked one.
        keep_alive: whether the client wants to keep the connection.
        trace: the traceparent, if there is a valid one.
    """

    method: str
    target: str
    version: str
    route: tuple[str, str]
    fields: Fields
    pairs: Pairs
    length: int
    chunked: bool
    keep_alive: bool
    expects_continue: bool
    trace: str

    def at(self, target: str) -> Head:
        """Return the same head with another target."""
        if target == self.target:
            return self
        route = (self.method, target.partition("?")[0])
        return replace(self, target=target, route=route)

    @property
    def path(self) -> str:
        """The target without the query."""
        return self.route[1]

    @property
    def query(self) -> str:
        """What stands after the question mark of the target."""
        return self.target.partition("?")[2]

    @property
    def is_http_1_0(self) -> bool:
        """Whether the client may not know chunks and persistent connections."""
        return self.version == "HTTP/1.0"


def parse_head(data: bytes) -> Head:
    """Parse a complete head, including its empty line. Raises BadRequest.

    Clients that keep a connection tend to send the same head again, so short ones are cached.
    """
    return _parse_cached(data) if len(data) <= _CACHED_BYTES else _parse(data)


def without_empty_lines(data: bytes) -> bytes:
    """Remove the empty lines before a request, which have no meaning (RFC 9112, section 2.2)."""
    lines = _EMPTY_LINES.match(data)
    assert lines
    return data[lines.end() :]


def check_incomplete(data: bytes) -> None:
    """Raise BadRequest if an incomplete head cannot become a valid one."""
    if _ILLEGAL.search(data) or (b"\n" in data and not _LINE.match(data)):
        raise BadRequest


def _parse(data: bytes) -> Head:
    line = _LINE.match(data)
    if not line or _ILLEGAL.search(data):
        raise BadRequest
    method, target, version = (part.decode("latin-1") for part in line.groups())
    # The parser gets a fixed request line: it does not know all methods and targets, and switches
    # to another protocol after some of them.
    rest = _LONG_LENGTH.sub(rb"\g<1>" + _TOO_LONG, data[line.end() - 1 :])
    pairs = _parse_pairs(b"POST / %b\r%b" % (line[3], rest))
    fields = _joined(pairs)
    _check_host(pairs, version)
    encoding = fields.get("transfer-encoding")
    if encoding is not None and (version == "HTTP/1.0" or encoding.lower() != "chunked"):
        raise BadRequest
    length = fields.get("content-length", "")
    if not target.startswith("/"):
        target, host = origin_form(target)
        if host is not None:
            pairs = [*(pair for pair in pairs if pair[0].lower() != "host"), ("Host", host)]
            fields["host"] = host
    target = normal_target(target)
    return Head(
        method=method,
        target=target,
        version=version,
        route=(method, target.partition("?")[0]),
        fields=fields,
        pairs=pairs,
        length=int(length) if length else 0,
        chunked=encoding is not None,
        keep_alive=_keeps_alive(fields, version, method),
        expects_continue=version == "HTTP/1.1"
        and fields.get("expect", "").lower() == "100-continue",
        trace=trace_of(fields),
    )


_parse_cached = lru_cache(maxsize=1024)(_parse)


class _Collector:
    """Collects what the parser reports."""

    def __init__(self) -> None:
        self.pairs: Pairs = []
        self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def _parse_pairs(data: bytes) -> Pairs:
    collector = _Collector()
    try:
        HttpRequestParser(collector).feed_data(data)
    except HttpParserUpgrade:
        pass  # the client offers another protocol; the offer is ignored
    except HttpParserError:
        raise BadRequest from None
    if not collector.is_complete:
        raise BadRequest
    return collector.pairs


def _joined(pairs: Pairs) -> Fields:
    fields: Fields = {}
    for name, value in pairs:
        name = name.lower()
        fields[name] = f"{fields[name]},{value}" if name in fields else value
    return fields


def _check_host(pairs: Pairs, version: str) -> None:
    """Check that there is one valid Host (RFC 9112, section 3.2); HTTP/1.0 may omit it."""
    hosts = [value for name, value in pairs if name.lower() == "host"]
    if len(hosts) > 1 or (not hosts and version == "HTTP/1.1"):
        raise BadRequest
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise BadRequest


def _keeps_alive(fields: Fields, version: str, method: str) -> bool:
    options = {option.strip().lower() for option in fields.get("connection", "").split(",")}
    if version == "HTTP/1.1":
        return "close" not in options
    has_end = method in ("GET", "HEAD") or bool(fields.get("content-length", ""))
    return "keep-alive" in options and "close" not in options and has_end
