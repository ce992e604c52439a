"""Requests that two servers in a row might parse differently, and how each transport answers.

Behind each of them follows a sound request in the same write. After a doubtful one it must not be
executed: it may be the body of the first to somebody else, or another client's.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.harness import (
    FakeModel,
    Server,
    over_http,
    predict_bytes,
    serving,
    with_settings,
)

NEXT_ROW = 666.0
NEXT = predict_bytes([666], {"Connection": "close", "X-Request-ID": "next"})
BODY = b'{"data":[10]}'
CHUNKS = b"d\r\n" + BODY + b"\r\n0\r\n\r\n"
HOST = b"Host: a\r\n"
TYPE = b"Content-Type: application/json\r\n"
LENGTH = b"Content-Length: 13\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

REFUSED = "400"  # after the last answer, whichever it is, the connection is closed
CUT = "closed"
BOTH = "200, then 200"


class Case(NamedTuple):
    """A request, and the answers of each transport; docs/http.md has the tables."""

    what: str
    data: bytes
    llhttp: str = REFUSED
    tornado: str = REFUSED


def post(fields: bytes, body: bytes = b"", line: bytes = b"POST /predict HTTP/1.1") -> bytes:
    """Return a request with these fields in addition to those of every request."""
    return line + b"\r\n" + HOST + TYPE + fields + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    """Return a chunked request with these bytes as its body."""
    return post(CHUNKED, body)


def get(line: bytes, fields: bytes = HOST) -> bytes:
    """Return a request without a body."""
    return line + b"\r\n" + fields + b"\r\n"


def length(value: bytes, body: bytes = BODY) -> bytes:
    """Return a request whose Content-Length line has these bytes after the colon."""
    return post(b"Content-Length:" + value + b"\r\n", body)


def coding(value: bytes, body: bytes = CHUNKS) -> bytes:
    """Return a request whose Transfer-Encoding line has these bytes after the colon."""
    return post(b"Transfer-Encoding:" + value + b"\r\n", body)


LENGTHS = [
    Case("a length", length(b" 13"), BOTH, BOTH),
    Case("no space before a length", length(b"13"), BOTH, BOTH),
    Case("spaces around a length", length(b"   13   "), BOTH, BOTH),
    Case("tabs around a length", length(b"\t13\t"), BOTH, BOTH),
    Case("zeros before a length", length(b" 013"), BOTH, BOTH),
    Case("30 zeros before a length", length(b" " + b"0" * 30 + b"13"), BOTH, BOTH),
    Case("capital letters in the name of the length", post(LENGTH.upper(), BODY), BOTH, BOTH),
    Case("two lengths", post(LENGTH + b"Content-Length: 5\r\n", BODY)),
    Case("two lengths, the second in capitals", post(LENGTH + b"CONTENT-LENGTH: 5\r\n", BODY)),
    Case("Content-Length twice, same value", post(LENGTH + LENGTH, BODY), REFUSED, BOTH),
    Case("Content-Length: 13, 13", length(b" 13, 13"), REFUSED, BOTH),
    Case("two lengths in one field", length(b" 13, 5")),
    Case("two lengths with a space between", length(b" 13 5")),
    Case("a comma behind a length", length(b" 13,")),
    Case("a length with a plus", length(b" +13")),
    Case("a length below zero", length(b" -13")),
    Case("a length in hexadecimal digits", length(b" 0xd")),
    Case("a length with an underscore", length(b" 1_3")),
    Case("a length with a point", length(b" 13.0")),
    Case("a length with an exponent", length(b" 1e1")),
    Case("a length in quotes", length(b' "13"')),
    Case("a length in Arabic digits", length(" ١٣".encode())),
    Case("an empty length", length(b"")),
    Case("a length of spaces", length(b"   ")),
    Case("an empty length beside a sound one", post(b"Content-Length:\r\n" + LENGTH, BODY)),
    Case("a length in words", length(b" thirteen")),
    Case("NUL behind a length", length(b" 13\x00")),
    Case("a vertical tab before a length", length(b" \x0b13")),
    Case("a form feed behind a length", length(b" 13\x0c")),
    Case("a no-break space before a length", length(b" \xa013")),
]
CODINGS = [
    Case("chunks", coding(b" chunked"), BOTH, BOTH),
    Case("chunks, in capital letters", coding(b" CHUNKED"), BOTH, BOTH),
    Case("chunks, with a tab before", coding(b"\tchunked"), BOTH, BOTH),
    Case("chunks, with spaces behind", coding(b" chunked  "), BOTH, BOTH),
    Case("a tab after `chunked`", coding(b" chunked\t"), REFUSED, BOTH),
    Case("length and chunks", post(LENGTH + CHUNKED, CHUNKS)),
    Case("chunks and length", post(CHUNKED + LENGTH, CHUNKS)),
    Case("a length of zero and chunks", post(b"Content-Length: 0\r\n" + CHUNKED, CHUNKS)),
    Case("an empty length and chunks", post(b"Content-Length:\r\n" + CHUNKED, CHUNKS)),
    Case("chunked twice", post(CHUNKED + CHUNKED, CHUNKS)),
    Case("chunked twice in one field", coding(b" chunked, chunked")),
    Case("gzip, chunked", coding(b" gzip, chunked")),
    Case("chunked, gzip", coding(b" chunked, gzip")),
    Case("gzip and chunked in two fields", post(b"Transfer-Encoding: gzip\r\n" + CHUNKED, CHUNKS)),
    Case("chunked, identity", coding(b" chunked, identity")),
    Case("identity", coding(b" identity", b"")),
    Case("identity and a length", post(b"Transfer-Encoding: identity\r\n" + LENGTH, BODY)),
    Case("a comma before chunked", coding(b" , chunked")),
    Case("a comma behind chunked", coding(b" chunked,")),
    Case("a parameter of chunked", coding(b" chunked;a=b")),
    Case("chunked in quotes", coding(b' "chunked"')),
    Case("xchunked", coding(b" xchunked")),
    Case("chunkedx", coding(b" chunkedx")),
    Case("two words", coding(b" chunked chunked")),
    Case("an empty coding", coding(b"", b"")),
    Case("an empty coding and a length", post(b"Transfer-Encoding:\r\n" + LENGTH, BODY)),
    Case("a vertical tab before chunked", coding(b" \x0bchunked")),
    Case("NUL behind chunked", coding(b" chunked\x00")),
    Case("a no-break space before chunked", coding(b"\xa0chunked")),
    Case("a space before the coding's colon", post(b"Transfer-Encoding : chunked\r\n", CHUNKS)),
    Case("a tab before the coding's colon", post(b"Transfer-Encoding\t: chunked\r\n", CHUNKS)),
    Case(
        "an underscore in Transfer_Encoding",
        post(b"Transfer_Encoding: x\r\n" + LENGTH, BODY),
        BOTH,
        BOTH,
    ),
    Case("chunked on a folded line", post(b"Transfer-Encoding:\r\n chunked\r\n", CHUNKS)),
    Case(
        "chunked body in HTTP/1.0", post(CHUNKED, CHUNKS, b"POST /predict HTTP/1.0"), REFUSED, "200"
    ),
    Case(
        "chunked body and keep-alive in HTTP/1.0",
        post(CHUNKED + b"Connection: keep-alive\r\n", CHUNKS, b"POST /predict HTTP/1.0"),
        REFUSED,
        BOTH,
    ),
]
CHUNKINGS = [
    Case(
        "zeros before a chunk's size", chunked(b"000d\r\n" + BODY + b"\r\n000\r\n\r\n"), BOTH, BOTH
    ),
    Case(
        "a chunk's size in capital letters", chunked(b"D\r\n" + BODY + b"\r\n0\r\n\r\n"), BOTH, BOTH
    ),
    Case("a chunk extension", chunked(b"d;a=b\r\n" + BODY + b"\r\n0\r\n\r\n"), BOTH),
    Case("a quoted chunk extension", chunked(b'd;a=";\\""\r\n' + BODY + b"\r\n0;b\r\n\r\n"), BOTH),
    Case("a trailer field", chunked(b"d\r\n" + BODY + b"\r\n0\r\nA: b\r\n\r\n"), BOTH),
    Case(
        "Content-Length as a trailer field",
        chunked(b"d\r\n" + BODY + b"\r\n0\r\nContent-Length: 50\r\n\r\n"),
        BOTH,
    ),
    Case("a chunk's size with a plus", chunked(b"+d\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("a chunk's size below zero", chunked(b"-d\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("0x before a chunk's size", chunked(b"0xd\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("an underscore in a chunk's size", chunked(b"0_d\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("a space before a chunk's size", chunked(b" d\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("a space behind a chunk's size", chunked(b"d \r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("a tab behind a chunk's size", chunked(b"d\t\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("no size of a chunk", chunked(b"\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("no size of the last chunk", chunked(b"d\r\n" + BODY + b"\r\n\r\n\r\n")),
    Case("no size but an extension", chunked(b";a\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("an extension without a name", chunked(b"d;\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("a space before an extension", chunked(b"d ;a\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case(
        "a chunk extension of 5,000 bytes",
        chunked(b"d;" + b"a" * 5000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
        REFUSED,
        REFUSED,
    ),
    Case("a chunk's size beyond 64 bits", chunked(b"1000000000000000d\r\n" + BODY + CHUNKS)),
    Case(
        "a chunk size of 100 digits",
        chunked(b"0" * 99 + b"d\r\n" + BODY + b"\r\n0\r\n\r\n"),
        REFUSED,
        REFUSED,
    ),
    Case("a chunk's size in words", chunked(b"thirteen\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("a chunk that is too short", chunked(b"e\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("a chunk that is too long", chunked(b"c\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("LF behind a chunk's size", chunked(b"d\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("LF behind a chunk", chunked(b"d\r\n" + BODY + b"\n0\r\n\r\n")),
    Case("LF behind the last chunk's size", chunked(b"d\r\n" + BODY + b"\r\n0\n\r\n")),
    Case("LF behind the last chunk", chunked(b"d\r\n" + BODY + b"\r\n0\r\n\n")),
    Case("CR behind a chunk's size", chunked(b"d\r" + BODY + b"\r\n0\r\n\r\n")),
    Case("CR behind a chunk", chunked(b"d\r\n" + BODY + b"\r0\r\n\r\n")),
    Case("CR CR LF behind a chunk's size", chunked(b"d\r\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("LF in an extension", chunked(b"d;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("CR in an extension", chunked(b"d;a\rb\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("NUL in an extension", chunked(b"d;a\x00\r\n" + BODY + b"\r\n0\r\n\r\n")),
    Case("a trailer without colon", chunked(b"d\r\n" + BODY + b"\r\n0\r\nab\r\n\r\n")),
    Case("a space before a trailer's colon", chunked(b"d\r\n" + BODY + b"\r\n0\r\nA : b\r\n\r\n")),
    Case("a folded trailer", chunked(b"d\r\n" + BODY + b"\r\n0\r\nA: b\r\n c\r\n\r\n")),
    Case("LF behind a trailer", chunked(b"d\r\n" + BODY + b"\r\n0\r\nA: b\n\r\n")),
    Case("a request for a trailer", chunked(b"d\r\n" + BODY + b"\r\n0\r\n")),
]
LINES = [
    Case("an empty line before a request", b"\r\n" + post(LENGTH, BODY), BOTH, BOTH),
    Case("LF before the request line", b"\n" + post(LENGTH, BODY), REFUSED, BOTH),
    Case("CR before the request line", b"\r" + post(LENGTH, BODY), REFUSED, BOTH),
    Case("two empty lines before the request line", b"\r\n\r\n" + post(LENGTH, BODY), BOTH),
    Case("a space before a request", b" " + post(LENGTH, BODY)),
    Case("a tab before a request", b"\t" + post(LENGTH, BODY)),
    Case("NUL before a request", b"\x00" + post(LENGTH, BODY)),
    Case("a byte order mark before a request", b"\xef\xbb\xbf" + post(LENGTH, BODY)),
    Case("LF instead of every CRLF", post(LENGTH).replace(b"\r\n", b"\n") + BODY, REFUSED, BOTH),
    Case("LF after the request line", post(LENGTH, BODY).replace(b"\r\n", b"\n", 1), REFUSED, BOTH),
    Case("LF after a header field", post(b"A: b\n" + LENGTH, BODY), REFUSED, BOTH),
    Case("LF instead of the empty line", post(LENGTH)[:-2] + b"\n" + BODY, REFUSED, BOTH),
    Case("LF LF between header fields", post(b"A: b\n\n" + LENGTH, BODY), REFUSED, "400, then 400"),
    Case("CR for every line end", post(LENGTH).replace(b"\r\n", b"\r") + BODY),
    Case("CR behind the request line", post(LENGTH, BODY).replace(b"\r\n", b"\r", 1)),
    Case("CR behind a field", post(b"A: b\r" + LENGTH, BODY)),
    Case("CR CR LF behind a field", post(b"A: b\r\r\n" + LENGTH, BODY)),
    Case("LF CR behind a field", post(b"A: b\n\r" + LENGTH, BODY)),
    Case("one word", get(b"hello")),
    Case("no version", get(b"GET /predict")),
    Case("no target", get(b"GET HTTP/1.1")),
    Case("an empty target", get(b"GET  HTTP/1.1")),
    Case("no method", get(b"/predict HTTP/1.1")),
    Case("an empty method", get(b" /predict HTTP/1.1")),
    Case("two spaces before the target", post(LENGTH, BODY, b"POST  /predict HTTP/1.1")),
    Case("two spaces before the version", post(LENGTH, BODY, b"POST /predict  HTTP/1.1")),
    Case("a tab before the target", post(LENGTH, BODY, b"POST\t/predict HTTP/1.1")),
    Case("a tab before the version", post(LENGTH, BODY, b"POST /predict\tHTTP/1.1")),
    Case("a space behind the version", post(LENGTH, BODY, b"POST /predict HTTP/1.1 ")),
    Case("four words", post(LENGTH, BODY, b"POST /predict /predict HTTP/1.1")),
    Case("a space in the method", post(LENGTH, BODY, b"PO ST /predict HTTP/1.1")),
    Case("a colon in the method", post(LENGTH, BODY, b"PO:ST /predict HTTP/1.1")),
    Case("DEL in the method", post(LENGTH, BODY, b"PO\x7fST /predict HTTP/1.1")),
    Case(
        "a letter beyond ASCII in the method", post(LENGTH, BODY, "POSÉ /predict HTTP/1.1".encode())
    ),
    Case(
        "a lower-case method",
        post(LENGTH, BODY, b"post /predict HTTP/1.1"),
        "405, then 200",
        "405",
    ),
    Case(
        "an unknown method", post(LENGTH, BODY, b"FROB /predict HTTP/1.1"), "405, then 200", "405"
    ),
    Case(
        "a method of 200 letters",
        post(LENGTH, BODY, b"P" * 200 + b" /predict HTTP/1.1"),
        "405, then 200",
        "405",
    ),
    Case(
        "a method of 20,000 letters",
        post(LENGTH, BODY, b"P" * 20_000 + b" /predict HTTP/1.1"),
        "431",
        "431",
    ),
    Case("http/1.1 in small letters", post(LENGTH, BODY, b"POST /predict http/1.1")),
    Case("HTTP/1.2", post(LENGTH, BODY, b"POST /predict HTTP/1.2"), REFUSED, "200"),
    Case("HTTP/1.11", post(LENGTH, BODY, b"POST /predict HTTP/1.11")),
    Case("HTTP/01.1", post(LENGTH, BODY, b"POST /predict HTTP/01.1")),
    Case("HTTP/1", post(LENGTH, BODY, b"POST /predict HTTP/1")),
    Case("HTTP/1,1", post(LENGTH, BODY, b"POST /predict HTTP/1,1")),
    Case("HTTP/ 1.1", post(LENGTH, BODY, b"POST /predict HTTP/ 1.1")),
    Case("HTTP/0.9", post(LENGTH, BODY, b"POST /predict HTTP/0.9")),
    Case("HTTP/2.0", post(LENGTH, BODY, b"POST /predict HTTP/2.0")),
    Case("HTTP/3", post(LENGTH, BODY, b"POST /predict HTTP/3")),
    Case("another protocol", post(LENGTH, BODY, b"POST /predict ICY/1.1")),
    Case("RTSP", post(LENGTH, BODY, b"SETUP /predict RTSP/1.0")),
    Case("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Case(
        "bytes of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n"
    ),
    Case("an answer", b"HTTP/1.1 200 OK\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
]
TARGETS = [
    Case(
        "a whole URL for target", post(LENGTH, BODY, b"POST http://a/predict HTTP/1.1"), BOTH, BOTH
    ),
    Case(
        "a URL of another host for target",
        post(LENGTH, BODY, b"POST http://b/predict HTTP/1.1"),
        BOTH,
        BOTH,
    ),
    Case("a URL without a path for target", get(b"GET http://a HTTP/1.1"), BOTH, BOTH),
    Case(
        "a URL without a host for target",
        post(LENGTH, BODY, b"POST http:///predict HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "a URL with a user for target",
        post(LENGTH, BODY, b"POST http://u@a/predict HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "a URL of ftp for target",
        post(LENGTH, BODY, b"POST ftp://a/predict HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case("CONNECT", get(b"CONNECT a:443 HTTP/1.1"), "404, then 200", "404"),
    Case("OPTIONS *", get(b"OPTIONS * HTTP/1.1"), "404, then 200", "404, then 200"),
    Case("GET *", get(b"GET * HTTP/1.1"), "404, then 200", "404, then 200"),
    Case(
        "a target without a slash",
        post(LENGTH, BODY, b"POST predict HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "two slashes",
        post(LENGTH, BODY, b"POST //predict HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "a fragment",
        post(LENGTH, BODY, b"POST /predict#a HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "UTF-8 in the target",
        post(LENGTH, BODY, "POST /prédict HTTP/1.1".encode()),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "bytes beyond ASCII in the query",
        post(LENGTH, BODY, b"POST /predict?\xff HTTP/1.1"),
        BOTH,
        BOTH,
    ),
    Case(
        "a backslash in the target",
        post(LENGTH, BODY, b"POST /predict\\ HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "a quote and a bracket in the target",
        post(LENGTH, BODY, b'POST /predict"<> HTTP/1.1'),
        "404, then 200",
        "404, then 200",
    ),
    Case("CR in the target", post(LENGTH, BODY, b"POST /pre\rdict HTTP/1.1")),
    Case("LF in the target", post(LENGTH, BODY, b"POST /pre\ndict HTTP/1.1")),
    Case("NUL in the target", post(LENGTH, BODY, b"POST /pre\x00dict HTTP/1.1")),
    Case("DEL in the target", post(LENGTH, BODY, b"POST /pre\x7fdict HTTP/1.1")),
    Case("a tab in the target", post(LENGTH, BODY, b"POST /pre\tdict HTTP/1.1")),
    Case("ESC in the query", post(LENGTH, BODY, b"POST /predict?\x1b HTTP/1.1")),
]
FIELDS = [
    Case("no Host", get(b"GET / HTTP/1.1", b"")),
    Case("no Host in HTTP/1.0", get(b"GET / HTTP/1.0", b""), "200", "200"),
    Case("two Hosts", get(b"GET / HTTP/1.1", HOST + b"Host: b\r\n")),
    Case("the same Host twice", get(b"GET / HTTP/1.1", HOST + HOST)),
    Case("two Hosts in HTTP/1.0", get(b"GET / HTTP/1.0", HOST + b"Host: b\r\n")),
    Case("an empty Host", get(b"GET / HTTP/1.1", b"Host:\r\n"), BOTH, BOTH),
    Case("a Host with a port", get(b"GET / HTTP/1.1", b"Host: a:80\r\n"), BOTH, BOTH),
    Case("an IPv6 address for Host", get(b"GET / HTTP/1.1", b"Host: [::1]:80\r\n"), BOTH, BOTH),
    Case("a space in Host", get(b"GET / HTTP/1.1", b"Host: a b\r\n")),
    Case("a slash in Host", get(b"GET / HTTP/1.1", b"Host: a/b\r\n")),
    Case("a user in Host", get(b"GET / HTTP/1.1", b"Host: u@a\r\n")),
    Case("two names in Host", get(b"GET / HTTP/1.1", b"Host: a, b\r\n")),
    Case("a bracket in Host", get(b"GET / HTTP/1.1", b"Host: a<b>\r\n")),
    Case("a quote in Host", get(b"GET / HTTP/1.1", b'Host: a"b\r\n')),
    Case("a byte beyond ASCII in Host", get(b"GET / HTTP/1.1", b"Host: \xe9\r\n")),
    Case("a field without colon", post(b"abc\r\n" + LENGTH, BODY)),
    Case("a field without name", post(b": abc\r\n" + LENGTH, BODY)),
    Case("a space before a colon", post(b"A : b\r\n" + LENGTH, BODY)),
    Case("a space before the length's colon", post(b"Content-Length : 13\r\n", BODY)),
    Case("a tab before a colon", post(b"A\t: b\r\n" + LENGTH, BODY)),
    Case("a space in a name", post(b"A b: c\r\n" + LENGTH, BODY)),
    Case("a space before the first field", b"GET / HTTP/1.1\r\n " + HOST + b"\r\n"),
    Case("a folded line", post(b"A: b\r\n c\r\n" + LENGTH, BODY)),
    Case("a folded line that begins with a tab", post(b"A: b\r\n\tc\r\n" + LENGTH, BODY)),
    Case("a folded line that looks like a length", post(b"A: b\r\n " + LENGTH, BODY)),
    Case("a folded line of spaces", post(LENGTH + b"A: b\r\n   \r\n", BODY)),
    Case("LF in a value", post(b"A: b\nc\r\n" + LENGTH, BODY)),
    Case("CR in a value", post(b"A: b\rc\r\n" + LENGTH, BODY)),
    Case("CR at the beginning of a value", post(b"A:\rb\r\n" + LENGTH, BODY)),
    Case("NUL in a value", post(b"A: b\x00c\r\n" + LENGTH, BODY)),
    Case("DEL in a value", post(b"A: b\x7fc\r\n" + LENGTH, BODY)),
    Case("ESC in a value", post(b"A: b\x1bc\r\n" + LENGTH, BODY)),
    Case("a vertical tab in a value", post(b"A: b\x0bc\r\n" + LENGTH, BODY)),
    Case("a tab in a value", post(b"A: b\tc\r\n" + LENGTH, BODY), BOTH, BOTH),
    Case("bytes beyond ASCII in a value", post(b"A: \xe9\xff\x85\r\n" + LENGTH, BODY), BOTH, BOTH),
    Case("an empty value", post(b"A:\r\n" + LENGTH, BODY), BOTH, BOTH),
    Case("NUL in a name", post(b"A\x00: b\r\n" + LENGTH, BODY)),
    Case("DEL in a name", post(b"A\x7f: b\r\n" + LENGTH, BODY)),
    Case("a byte beyond ASCII in a name", post(b"\xc3\xa9: b\r\n" + LENGTH, BODY)),
    Case("a bracket in a name", post(b"A(b): c\r\n" + LENGTH, BODY)),
    Case("a slash in a name", post(b"A/b: c\r\n" + LENGTH, BODY)),
    Case("quotes around a name", post(b'"A": c\r\n' + LENGTH, BODY)),
    Case(
        "odd but sound letters in a name",
        post(b"!#$%&'*+-.^_`|~09: c\r\n" + LENGTH, BODY),
        BOTH,
        BOTH,
    ),
    Case(
        "headers of 100 KiB",
        post(b"A: " + b"a" * 100 * 1024 + b"\r\n" + LENGTH, BODY),
        "431",
        "431",
    ),
    Case("2,000 header fields", post(b"A: aaaaaa\r\n" * 2000 + LENGTH, BODY), "431", "431"),
]
PROTOCOLS = [
    Case(
        "an offer of h2c",
        post(
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
            + LENGTH,
            BODY,
        ),
        BOTH,
        BOTH,
    ),
    Case(
        "an offer of WebSocket",
        get(
            b"GET / HTTP/1.1",
            HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
        BOTH,
        BOTH,
    ),
    Case(
        "an offer of another protocol and chunks",
        post(b"Connection: Upgrade\r\nUpgrade: x\r\n" + CHUNKED, CHUNKS),
        BOTH,
        BOTH,
    ),
    Case("an unknown expectation", post(b"Expect: 200-ok\r\n" + LENGTH, BODY), BOTH, BOTH),
    Case("a body behind GET", get(b"GET / HTTP/1.1", HOST + LENGTH) + BODY, BOTH, BOTH),
    Case("chunks behind GET", get(b"GET / HTTP/1.1", HOST + CHUNKED) + CHUNKS, BOTH, BOTH),
    Case("a body behind HEAD", get(b"HEAD / HTTP/1.1", HOST + LENGTH) + BODY, BOTH, BOTH),
    Case("no length behind POST", post(b""), "400, then 200", "400, then 200"),
    Case("a body without a length", post(b"", BODY), "400, then 400", "400, then 400"),
    Case(
        "a body that is longer than its length",
        post(b"Content-Length: 12\r\n", BODY),
        "400, then 400",
        "400, then 400",
    ),
]
BODIES = [
    Case(
        "a body that is shorter than its length",
        post(b"Content-Length: 14\r\n", BODY),
        "400, then 405",
        "400, then 405",
    ),
    Case(
        "a length of zero before a body",
        post(b"Content-Length: 0\r\n", BODY),
        "400, then 400",
        "400, then 400",
    ),
    Case("an empty line behind a body", post(LENGTH, BODY + b"\r\n"), BOTH, BOTH),
    Case(
        "a body behind OPTIONS",
        get(b"OPTIONS /predict HTTP/1.1", HOST + LENGTH) + BODY,
        "204, then 200",
        "204, then 200",
    ),
    Case(
        "a body behind DELETE",
        get(b"DELETE /predict HTTP/1.1", HOST + LENGTH) + BODY,
        "405, then 200",
        "405, then 200",
    ),
    Case("PUT", post(LENGTH, BODY, b"PUT /predict HTTP/1.1"), "405, then 200", "405, then 200"),
    Case("PATCH", post(LENGTH, BODY, b"PATCH /predict HTTP/1.1"), "405, then 200", "405, then 200"),
    Case("TRACE", get(b"TRACE /predict HTTP/1.1"), "405, then 200", "405"),
    Case(
        "POST where there is GET",
        post(LENGTH, BODY, b"POST /v2/health/live HTTP/1.1"),
        "405, then 200",
        "405, then 200",
    ),
    Case(
        "a coding of the body that is not one",
        post(b"Content-Encoding: x\r\n" + LENGTH, BODY),
        "415, then 200",
        "415, then 200",
    ),
    Case(
        "`Expect: 100-continue` with the body sent at once",
        post(b"Expect: 100-continue\r\n" + LENGTH, BODY),
        BOTH,
        BOTH,
    ),
]
LONG = [
    Case(
        "a URL of 70 KiB",
        post(LENGTH, BODY, b"POST /%b HTTP/1.1" % (b"a" * 70 * 1024)),
        "431",
        "431",
    ),
    Case(
        "a query of 70 KiB",
        post(LENGTH, BODY, b"POST /predict?%b HTTP/1.1" % (b"a" * 71_680)),
        "431",
        "431",
    ),
    Case(
        "1,001 query parameters",
        post(LENGTH, BODY, b"POST /predict?%b HTTP/1.1" % b"&".join([b"a=1"] * 1001)),
        BOTH,
    ),
    Case(
        "1,001 arguments where Tornado answers",
        get(b"GET /v2/health/live?%b HTTP/1.1" % b"&".join([b"a%d=1" % n for n in range(1001)])),
    ),
    Case(
        "20,000 query parameters",
        post(LENGTH, BODY, b"POST /predict?%b HTTP/1.1" % b"&".join([b"a=1"] * 20_000)),
        "431",
        "431",
    ),
    Case(
        "a header name of 20,000 letters",
        post(b"a" * 20_000 + b": b\r\n" + LENGTH, BODY),
        "431",
        "431",
    ),
]
INJECTIONS = [
    Case(
        "an escaped line end in an id",
        post(b"X-Request-ID: a%0d%0aB: c\r\n" + LENGTH, BODY),
        BOTH,
        BOTH,
    ),
    Case("a tab in an id", post(b"X-Request-ID: a\tb\r\n" + LENGTH, BODY), BOTH, BOTH),
    Case(
        "a line end of Unicode in an id",
        post("X-Request-ID: a\u2028b\r\n".encode() + LENGTH, BODY),
        BOTH,
        BOTH,
    ),
    Case(
        "an escaped line end in a path",
        get(b"GET /v2/models/a%0d%0aB:%20c HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "an escaped line end in a page's path",
        get(b"GET /problems/a%0d%0aB:%20c HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "an escaped line end in a model's name",
        post(LENGTH, BODY, b"POST /models/a%0d%0aB:%20c/predict HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "an escaped NUL in a path",
        get(b"GET /v2/models/a%00 HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "percent-encoded invalid UTF-8 in a model name",
        get(b"GET /v2/models/%ff%fe HTTP/1.1"),
        "400, then 200",
    ),
    Case(
        "a half escape in a path",
        get(b"GET /v2/models/%0 HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "dots in a path",
        get(b"GET /static/../config.yaml HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "escaped dots in a path",
        get(b"GET /static/%2e%2e/config.yaml HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "an escaped slash in a path",
        get(b"GET /static/..%2fconfig.yaml HTTP/1.1"),
        "404, then 200",
        "404, then 200",
    ),
    Case(
        "an escaped line end in Origin",
        get(b"GET / HTTP/1.1", HOST + b"Origin: http://a%0d%0aB: c\r\n"),
        BOTH,
        BOTH,
    ),
    Case("an escaped line end in Host", get(b"GET / HTTP/1.1", b"Host: a%0d%0aB\r\n"), BOTH, BOTH),
    Case(
        "another method in a field",
        post(b"X-HTTP-Method-Override: DELETE\r\n" + LENGTH, BODY),
        BOTH,
        BOTH,
    ),
    Case(
        "another path in a field", post(b"X-Original-URL: /metrics\r\n" + LENGTH, BODY), BOTH, BOTH
    ),
    Case(
        "another host in a field",
        post(b"X-Forwarded-Host: b\r\nX-Forwarded-For: ::1\r\n" + LENGTH, BODY),
        BOTH,
        BOTH,
    ),
    Case(
        "a length among what a hop may drop",
        post(b"Connection: content-length\r\n" + LENGTH, BODY),
        BOTH,
        BOTH,
    ),
    Case("a line end before a field's colon", post(b"A\r\n: b\r\n" + LENGTH, BODY)),
    Case(
        "two lengths, one with a space before its colon",
        post(LENGTH + b"Content-Length : 5\r\n", BODY),
    ),
    Case(
        "two lengths, one with an underscore",
        post(LENGTH + b"Content_Length: 5\r\n", BODY),
        BOTH,
        BOTH,
    ),
    Case("a length and a folded one", post(LENGTH + b"A: b\r\n\tContent-Length: 5\r\n", BODY)),
]
CASES = [
    *(*LENGTHS, *CODINGS, *CHUNKINGS, *LINES, *TARGETS, *FIELDS, *PROTOCOLS),
    *(*BODIES, *LONG, *INJECTIONS),
]
# No case ends by a time limit, however busy the machine is.
LATE = dict.fromkeys(("header_timeout_s", "body_timeout_s", "idle_timeout_s"), 10.0)


async def outcome(server: Server, data: bytes) -> tuple[str, list[bytes]]:
    """Send bytes and a valid request after them; return the statuses and the answers."""
    client = await server.connect()
    with contextlib.suppress(ConnectionError):
        await client.send(data + NEXT)
    answers = [*answers_in(await client.rest(), is_head=data.startswith(b"HEAD"))]
    client.close()
    return ", then ".join(answer[9:12].decode() for answer in answers) or CUT, answers


def answers_in(data: bytes, *, is_head: bool) -> Iterator[bytes]:
    """Split received bytes into answers; the first may be to HEAD."""
    while data:
        end = data.index(b"\r\n\r\n") + 4
        length = re.search(rb"Content-Length: (\d+)", data[:end])
        end += int(length[1]) if length and not is_head else 0
        yield data[:end]
        data, is_head = data[end:], False


@over_http
async def test_what_follows_an_ambiguous_request_is_not_executed(
    transport: str, subtests: pytest.Subtests
) -> None:
    model = FakeModel()
    async with serving(model, with_settings(http=LATE)) as server:
        for case in CASES:
            model.batches.clear()
            statuses, answers = await outcome(server, case.data)
            with subtests.test(case.what):
                assert statuses == getattr(case, transport)
                assert (NEXT_ROW in model.rows) == (", then 200" in statuses)
                assert model.rows in ([], [10], [10, NEXT_ROW], [NEXT_ROW])
                assert_each_is_its_own(answers, next_is_last=", then 200" in statuses)
                if statuses == REFUSED == case.llhttp:
                    assert_bare(answers[0])


# The fields that a response may have; a field injected by a request is not among them.
NAMES = {
    *("Content-Type", "Content-Length", "Connection", "Server", "Date", "Allow", "Accept-Post"),
    *("X-Request-Id", "X-Model-Version", "X-Model-Engine", "Server-Timing"),
    *("Cache-Control", "Retry-After"),
    *("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Security-Policy"),
    *("Cross-Origin-Resource-Policy", "Cross-Origin-Opener-Policy", "Permissions-Policy"),
    *("Vary", "Etag", "Accept-Encoding", "Link"),
}


def assert_each_is_its_own(answers: list[bytes], *, next_is_last: bool) -> None:
    """Assert that answers belong to their requests, are not 500, and have no injected fields."""
    heads = [answer.partition(b"\r\n\r\n")[0].decode("latin-1") for answer in answers]
    is_next = ["x-request-id: next" in head.lower() for head in heads]
    assert not any(is_next[:-1])
    assert not next_is_last or is_next[-1]
    assert len(heads) > 1 or not any(is_next)
    for head in heads:
        start, *fields = head.split("\r\n")
        assert start[:10] in ("HTTP/1.1 1", "HTTP/1.1 2", "HTTP/1.1 4"), start
        assert {field.partition(":")[0].title() for field in fields} <= NAMES, head


def assert_bare(answer: bytes) -> None:
    """Assert that an answer has no body and closes the connection."""
    assert answer.endswith(b"\r\n\r\n"), answer
    assert b"\r\nConnection: close\r\n" in answer
    assert b"\r\nContent-Length: 0\r\n" in answer


# The documentation

PAGE = Path(__file__).parents[2] / "docs" / "http.md"


def test_the_documentation_shows_where_the_transports_differ() -> None:
    rows = [c for c in CASES if c.llhttp != c.tornado]
    lines = ["| what is sent | `llhttp` | `tornado` |", "|---|---|---|"]
    lines += [f"| {case.what} | {case.llhttp} | {case.tornado} |" for case in rows]

    assert "\n".join(lines) in PAGE.read_text(), "docs/http.md should have:\n" + "\n".join(lines)


def test_every_case_has_a_unique_name() -> None:
    assert len({case.what for case in CASES}) == len(CASES)
