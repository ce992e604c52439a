"""Bodies that are broken, odd, deep or expensive, in every dialect of JSON."""

from __future__ import annotations

import contextlib
import time
from typing import NamedTuple

import pytest

from model.signature import Signature, TensorSpec
from server.dialects.interface import Dialect
from server.dialects.native.dialect import NativeDialect
from server.dialects.tfserving.dialect import TFServingDialect
from server.dialects.v2.dialect import V2Dialect
from server.errors import ServiceError
from tests.support.harness import (
    NUMBER,
    PROBLEM_JSON,
    FakeModel,
    Response,
    over_http,
    serving,
    with_settings,
)

# A request of each dialect, with a placeholder for the data.
FRAMES = {
    "/predict": b'{"data":%b}',
    "/v1/models/m:predict": b'{"instances":%b}',
    "/v2/models/m/infer": b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":%b}]}',
}
NAMED = with_settings(model={"name": "m"})
BAD_JSON, BAD_DATA, GOOD = (400, 400), (422, 400), (200, 200)


class Case(NamedTuple):
    """The data of a body, and the status codes of the native dialect and of the others."""

    what: str
    data: bytes
    statuses: tuple[int, int]


def many(item: bytes, times: int) -> bytes:
    """Return a list of one item, repeated."""
    return b"[" + b",".join([item] * times) + b"]"


DATA = [
    Case("truncated", b"[[1],[2", BAD_JSON),
    Case("truncated behind 30,000 rows", many(b"[1.5]", 30_000)[:-1], BAD_JSON),
    Case("a bracket too many", b"[[1]]]", BAD_JSON),
    Case("a comma too many", b"[[1],]", BAD_JSON),
    Case("lists, 900 deep", b"[" * 900 + b"]" * 900, BAD_DATA),
    Case("lists, 100,000 deep", b"[" * 100_000 + b"]" * 100_000, BAD_JSON),
    Case("objects, 50,000 deep", b'{"a":' * 50_000 + b"1" + b"}" * 50_000, BAD_JSON),
    Case("300 lists, 300 deep", many(b"[" * 300 + b"]" * 300, 300), BAD_DATA),
    Case("an integer of 4,000 digits", b"[[%b]]" % (b"9" * 4000), BAD_JSON),
    Case("an integer of 200,000 digits", b"[[%b]]" % (b"9" * 200_000), BAD_JSON),
    Case("an integer beyond 64 bits", b"[[18446744073709551616]]", GOOD),
    Case("an exponent of 400", b"[[1e400]]", BAD_JSON),
    Case("an exponent of ten digits", b"[[1e9999999999]]", BAD_JSON),
    Case("a number beyond float32", b"[[1e39]]", BAD_DATA),
    Case("a fraction of 200,000 digits", b"[[0.%b]]" % (b"1" * 200_000), GOOD),
    Case("an exponent of -400", b"[[1e-400]]", GOOD),
    Case("zeros before a number", b"[[01]]", BAD_JSON),
    Case("a plus before a number", b"[[+1]]", BAD_JSON),
    Case("a hexadecimal number", b"[[0x1]]", BAD_JSON),
    Case("a lone surrogate", b'[["\\ud800"]]', BAD_JSON),
    Case("a lone surrogate in bytes", b'[["\xed\xa0\x80"]]', BAD_JSON),
    Case("33,000 lone surrogates", b'[["%b"]]' % (b"\\ud800" * 33_000), BAD_JSON),
    Case("UTF-8 that is too long", b'[["\xc0\xaf"]]', BAD_JSON),
    Case("NaN", b"[[NaN]]", BAD_JSON),
    Case("Infinity", b"[[-Infinity]]", BAD_JSON),
    Case("a comment", b"[[1/*2*/]]", BAD_JSON),
    Case("quotes of another kind", b"[['1']]", BAD_JSON),
    Case("NUL", b"[[1]]\x00", BAD_JSON),
    Case("a control character in a string", b'[["\x01"]]', BAD_JSON),
    Case("2,048 strings", many(b'["a"]', 2048), BAD_DATA),
    Case("2,048 strings in a row", b"[%b]" % many(b'"a"', 2048), BAD_DATA),
    Case("2,048 times null", many(b"[null]", 2048), BAD_DATA),
    Case("40,000 times true", many(b"[true]", 40_000), BAD_DATA),
    Case("20,000 objects", many(b'{"a":1}', 20_000), BAD_DATA),
    Case("a string of 200 KB", b'"%b"' % (b"a" * 200_000), BAD_DATA),
    Case("a string of 200 KB in a row", b'[["%b"]]' % (b"a" * 200_000), BAD_DATA),
    Case("a string of 33,000 escapes", b'[["%b"]]' % (b"\\u00e9" * 33_000), BAD_DATA),
    Case("null", b"null", BAD_DATA),
    Case("no row", b"[]", BAD_DATA),
    Case("an empty row", b"[[]]", BAD_DATA),
]


def whole(frame: bytes) -> list[Case]:
    """Return bodies that are odd around a valid request."""
    sound = frame % b"[[1]]"
    text = sound.decode()
    return [
        Case("nothing", b"", BAD_JSON),
        Case("200 KB of spaces", b" " * 200_000, BAD_JSON),
        Case("UTF-16", text.encode("utf-16"), BAD_JSON),
        Case("UTF-16 without a mark", text.encode("utf-16-le"), BAD_JSON),
        Case("UTF-32", text.encode("utf-32"), BAD_JSON),
        Case("a byte order mark", b"\xef\xbb\xbf" + sound, BAD_JSON),
        Case("two documents", sound + sound, BAD_JSON),
        Case("no object", b"[%b]" % sound, BAD_DATA),
        Case("a name twice: the last one counts", b"{%b,%b" % (sound[1:-1], sound[1:]), GOOD),
        Case("a name 10,000 times", b"{" + (sound[1:-1] + b",") * 10_000 + sound[1:], GOOD),
    ]


def bodies(frame: bytes) -> list[Case]:
    """Return all bodies of a dialect."""
    return [*(case._replace(data=frame % case.data) for case in DATA), *whole(frame)]


def assert_tells_little(response: Response, path: str) -> None:
    """An error has the form of the dialect, is short, and shows no internals."""
    assert len(response.body) < 4096
    assert b"Traceback" not in response.body
    assert b"site-packages" not in response.body
    if path == "/predict":
        assert response.media_type == PROBLEM_JSON
        assert all(len(each["detail"]) <= 160 for each in response.json.get("errors", []))
    else:
        assert response.json.keys() == {"error"}


@pytest.mark.parametrize("path", FRAMES)
@over_http
async def test_every_body_has_its_answer_and_the_connection_goes_on(
    path: str, subtests: pytest.Subtests
) -> None:
    async with serving(FakeModel(), NAMED) as server:
        client = await server.connect()
        for case in bodies(FRAMES[path]):
            headers = {"Content-Type": "application/json"}
            response = await client.ask("POST", path, headers, case.data)
            with subtests.test(case.what):
                assert response.status == case.statuses[path != "/predict"], response.body[:300]
                if response.status != 200:
                    assert_tells_little(response, path)
        assert (await client.predict([10])).json == {"prediction": 31.0}


# How long they block the event loop

WIDE = Signature((TensorSpec("x", (None,), "float32"),), NUMBER.outputs)
MAX_SECONDS = 0.010
TRIES = 20  # another process may have slowed it down


def shortest(dialect: Dialect, body: bytes) -> float:
    """Return the CPU time of decoding, or rejecting, a body."""
    seconds = []
    while len(seconds) < TRIES and (not seconds or min(seconds) > MAX_SECONDS / 2):
        started = time.thread_time()
        with contextlib.suppress(ServiceError):
            dialect.decode(body, {})
        seconds.append(time.thread_time() - started)
    return min(seconds)


@pytest.mark.torture
@pytest.mark.parametrize("signature", [NUMBER, WIDE], ids=["one number", "any number"])
def test_no_body_of_200_kb_blocks_the_event_loop_for_10_ms(signature: Signature) -> None:
    dialects = [
        NativeDialect(signature),
        TFServingDialect(signature),
        V2Dialect("m", "1", signature),
    ]
    times = {
        (dialect.name, case.what): shortest(dialect, case.data)
        for dialect, frame in zip(dialects, FRAMES.values(), strict=True)
        for case in bodies(frame)
    }
    worst = max(times, key=lambda key: times[key])
    print(f"the worst is {worst}: {times[worst] * 1000:.1f} ms")
    assert times[worst] < MAX_SECONDS, (worst, times[worst])
