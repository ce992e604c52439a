"""Both transports answer valid requests alike, whatever pieces they arrive in."""

from __future__ import annotations

import asyncio
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from model.signature import Signature, TensorSpec
from tests.support import harness
from tests.support.fake_decoder import FakeDecoders
from tests.support.harness import (
    JSON,
    SOON,
    TEST_SECONDS,
    FakeModel,
    Server,
    over_http,
    predict_bytes,
    request_bytes,
    serving,
    with_settings,
)

MIB = 2**20
WIDE = Signature((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (500,), "float32"),))
SETTINGS = with_settings(http={"max_body_bytes": 20_000})
ROWS = b'{"data": [[10], [20]]}'


def chunked(body: bytes, sizes: Iterable[int]) -> bytes:
    """Return a body in chunks of these sizes; the last chunk has the rest."""
    chunks = []
    for size in sizes:
        piece, body = body[:size], body[size:]
        if piece:
            chunks.append(b"%x\r\n%b\r\n" % (len(piece), piece))
    if body:
        chunks.append(b"%X\r\n%b\r\n" % (len(body), body))
    return b"".join(chunks) + b"0\r\n\r\n"


@dataclass(frozen=True)
class Asked:
    """A request as it goes over the wire, and its method."""

    method: str
    data: bytes

    @property
    def is_1_0(self) -> bool:
        """Whether it is an HTTP/1.0 request."""
        return b" HTTP/1.0\r\n" in self.data

    @property
    def is_last(self) -> bool:
        """Whether the connection closes after it."""
        head = self.data.lower().partition(b"\r\n\r\n")[0]
        options = b"".join(re.findall(rb"\nconnection:([^\r]*)", head))
        has_end = self.method in ("GET", "HEAD") or b"\ncontent-length:" in head
        kept = not self.is_1_0 or (b"keep-alive" in options and has_end)
        return b"close" in options or not kept


def asked(
    method: str,
    target: str,
    body: bytes | None = None,
    version: str = "HTTP/1.1",
    **fields: str,
) -> Asked:
    """Return a request with an id of its own; `fields` have `_` for `-` in their names."""
    headers = {"X-Request-ID": "mine"} | {k.replace("_", "-"): v for k, v in fields.items()}
    in_chunks = "Transfer-Encoding" in headers
    data = request_bytes(method, target, headers, None if in_chunks else body, version)
    return Asked(method, data + (chunked(body or b"", [1, 5, 7]) if in_chunks else b""))


def predict(body: bytes = ROWS, version: str = "HTTP/1.1", **fields: str) -> Asked:
    """Return a request for predictions."""
    return asked("POST", "/predict", body, version, **({"Content_Type": JSON} | fields))


CHUNKED = {"Transfer_Encoding": "chunked"}
WELL_FORMED = {
    "a batch": [predict()],
    "one example": [predict(b'{"data":[1]}')],
    "a body of spaces and lines": [predict(b'\r\n {"data" :\r\n\t[1]} \r\n')],
    "a whole URL": [
        asked("POST", "http://localhost/predict?a=b", ROWS, Content_Type=JSON),
        asked("GET", "http://localhost/v2/health/live"),
    ],
    "chunks": [predict(**CHUNKED), predict(b"", **CHUNKED), predict()],
    "chunks that are too many": [predict(b" " * 20_001, **CHUNKED), predict()],
    "a body that is too large": [predict(b" " * 20_001), predict()],
    "a body that is just not too large": [predict(ROWS + b" " * (20_000 - len(ROWS)))],
    "an expectation": [predict(Expect="100-continue"), predict(**CHUNKED, Expect="100-Continue")],
    "a body that nobody asks for": [asked("GET", "/v2/health/live", b"abc"), predict()],
    "chunks that nobody asks for": [asked("GET", "/", b"abc", **CHUNKED), predict()],
    "HTTP/1.0": [predict(version="HTTP/1.0"), predict()],
    "HTTP/1.0 that is kept": [
        predict(version="HTTP/1.0", Connection="keep-alive"),
        asked("GET", "/", version="HTTP/1.0", Connection="Keep-Alive"),
        asked("HEAD", "/", version="HTTP/1.0", Connection="Keep-Alive"),
        predict(version="HTTP/1.0", Connection="close"),
        predict(),
    ],
    "HTTP/1.0 that asks for a page": [asked("GET", "/openapi.json", version="HTTP/1.0"), predict()],
    "an end that is asked for": [predict(Connection="close"), predict()],
    "an end that is asked for in capitals": [predict(Connection="Close"), predict()],
    "an end among other options": [predict(Connection="a, close"), predict()],
    "an end behind a page": [asked("GET", "/", Connection="close"), predict()],
    "a connection that is kept in so many words": [predict(Connection="keep-alive"), predict()],
    "HEAD": [asked("HEAD", path) for path in ("/", "/docs", "/openapi.json", "/predict", "/no")],
    "HEAD with a body": [asked("HEAD", "/", b"abc"), predict()],
    "OPTIONS": [asked("OPTIONS", path) for path in ("/", "/predict", "/no", "*")],
    "a preflight": [
        asked(
            "OPTIONS",
            "/predict",
            Origin="https://a.example",
            Access_Control_Request_Method="POST",
        )
    ],
    "an origin": [predict(Origin="https://a.example"), predict(Origin="https://b.example")],
    "pages": [asked("GET", path) for path in ("/", "/docs", "/openapi.json", "/static/docs.js")],
    "a page that has not changed": [asked("GET", "/static/docs.js", If_None_Match="*")],
    "health": [asked("GET", f"/v2/health/{what}") for what in ("live", "ready", "no")],
    "other methods": [
        asked(method, path, b"")
        for method in ("PUT", "DELETE", "PATCH")
        for path in ("/", "/predict", "/no")
    ],
    "odd targets": [
        asked("GET", path) for path in ("//", "/%20", "/a/../b", "/predict/", "/?", "/a;b")
    ],
    "no JSON": [predict(body) for body in (b"", b"{", b"\xff", b'{"data":[NaN]}')],
    "JSON that breaks the schema": [predict(body) for body in (b"{}", b'{"data":["1"]}', b"[]")],
    "other media types": [predict(Content_Type=kind) for kind in ("text/plain", "a/b; c=d")],
    "a coding": [predict(Content_Encoding="gzip"), predict(Content_Encoding="identity")],
    "a time to wait": [predict(X_Request_Timeout_Ms=ms) for ms in ("5000", "0", "-1", "x")],
    "empty lines before a request": [Asked("POST", b"\r\n" + predict().data), predict()],
    "names in other letters": [
        Asked(
            "POST",
            b"POST /predict HTTP/1.1\r\nhOST:localhost\r\ncontent-TYPE:\t application/json \t\r\n"
            b"CONTENT-length:  %d  \r\nx-request-id:mine\r\n\r\n%b" % (len(ROWS), ROWS),
        ),
        predict(),
    ],
    "a field that comes twice": [
        Asked("POST", predict().data.replace(b"\r\n", b"\r\nX-A: 1\r\nX-A: 2\r\n", 1)),
        predict(),
    ],
    "a field of 10,000 bytes": [predict(X_A="a" * 10_000), predict()],
}

# The same answers


@asynccontextmanager
async def on_both() -> AsyncIterator[dict[str, Server]]:
    """Serve on both transports at once."""
    servers = {}
    async with AsyncExitStack() as stack:
        try:
            for name in ("llhttp", "tornado"):
                harness.transport = name
                servers[name] = await stack.enter_async_context(serving(settings=SETTINGS))
        finally:
            harness.transport = "llhttp"
        yield servers


async def answers_of(
    server: Server, requests: Sequence[Asked], pieces: Iterable[bytes] | None = None
) -> list[str]:
    """Send requests in one piece or several; return all that is received until the end."""
    client = await server.connect()
    for piece in pieces or [b"".join(request.data for request in requests)]:
        await client.send(piece)
        await asyncio.sleep(0)
    data = await client.rest()
    client.close()
    return [*answers_in(data, iter(requests))]


def to_its_end(requests: Iterable[Asked]) -> list[Asked]:
    """Return the requests up to the first after which the connection closes."""
    sent = []
    for request in [*requests, predict(Connection="close")]:
        sent.append(request)
        if request.is_last:
            break
    return sent


def answers_in(data: bytes, requests: Iterator[Asked]) -> Iterator[str]:
    """Split received bytes into answers, without 100 Continue."""
    while data:
        end = data.index(b"\r\n\r\n") + 4
        if not data.startswith(b"HTTP/1.1 100 "):
            request = next(requests)
            length = re.search(rb"\r\nContent-Length: (\d+)\r\n", data[:end])
            if request.method != "HEAD" and length:
                end += int(length[1])
            answer = comparable(data[:end])
            # Tornado closes HTTP/1.0 connections without `Connection: close`
            yield answer.replace("connection: close\n", "") if request.is_1_0 else answer
        data = data[end:]


def comparable(answer: bytes) -> str:
    """Return an answer with its fields in order, without times."""
    head, _, body = answer.decode("latin-1").partition("\r\n\r\n")
    start, *fields = head.split("\r\n")
    fields = [re.sub(r"dur=[\d.]+", "dur=", field.lower()) for field in fields]
    body = re.sub(r"<time .*?</time>", "<time>", body)  # the servers' start times differ
    return "\n".join([start, *sorted(f for f in fields if not f.startswith("date: ")), "", body])


@pytest.mark.gen_test(timeout=TEST_SECONDS)
async def test_valid_requests_get_the_same_answers_on_both_transports(
    subtests: pytest.Subtests,
) -> None:
    async with on_both() as servers:
        for what, requests in WELL_FORMED.items():
            with subtests.test(what):
                llhttp, tornado = [
                    await answers_of(server, to_its_end(requests)) for server in servers.values()
                ]
                assert len(llhttp) == len(to_its_end(requests))
                assert llhttp == tornado
                assert not any(answer.startswith("HTTP/1.1 500") for answer in llhttp)


# Any requests, in any pieces

TARGETS = ["/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready", "/no", "/predict"]
METHODS = ["GET", "GET", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST"]
BODIES = [b'{"data":[%d]}', b'{"data": [[%d], [2.5]]}', b'{"data":["%d"]}', b'{"data":%d', b"%d"]
FIELDS = [
    ("Accept", "*/*"),
    ("Accept-Encoding", "gzip, br"),
    ("Content-Encoding", "gzip"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("Content-Type", "text/plain"),
    ("Cookie", "a=b; c=d"),
    ("Expect", "100-continue"),
    ("If-None-Match", '"abc"'),
    ("Origin", "https://a.example"),
    ("User-Agent", "a (b; c) d/1.0"),
    ("X-Empty", ""),
    ("X-Long", "a" * 3000),
    ("X-Request-Timeout-Ms", "5000"),
    ("X-Request-Timeout-Ms", "soon"),
]


def any_request(dice: random.Random, number: int) -> Asked:
    """Return a valid request, mostly for predictions."""
    fields = {"Host": "localhost", "X-Request-ID": f"r{number}"}
    method, target, body = "POST", "/predict", None
    if dice.random() < 0.6:
        fields["Content-Type"] = JSON
        body = dice.choice(BODIES) % dice.randrange(1000)
    else:
        method, target = dice.choice(METHODS), dice.choice(TARGETS)
        body = b"x" * dice.randrange(50) if method in ("POST", "PUT") else None
    fields |= dict(dice.sample(FIELDS, dice.randrange(4)))
    if body is not None and not is_continued(method, target, fields):
        fields.pop("Expect", None)
    target += dice.choice(["", "", "", "?", "?a=b&c=%20"])
    version = "HTTP/1.1" if dice.random() < 0.9 else "HTTP/1.0"
    if method not in ("GET", "HEAD") and body is None:
        version = "HTTP/1.1"  # Tornado answers others without a length `keep-alive`, and closes
    if version == "HTTP/1.0":
        fields["Connection"] = "keep-alive"
    if dice.random() < 0.03:
        fields["Connection"] = "close"
    if body is not None and dice.random() < 0.05:
        body += b" " * 20_000
        fields.pop("Expect", None)  # 413 comes before 100 Continue, and the connection closes
    if body is not None and version == "HTTP/1.1" and dice.random() < 0.4:
        fields["Transfer-Encoding"] = "chunked"
        body = chunked(body, [dice.randrange(1, 30) for _ in range(dice.randrange(6))])
    elif body is not None:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {target} {version}"]
    lines += [
        f"{dice.choice(CASES)(name)}:{dice.choice(SPACES)}{value}{dice.choice(BEHIND[value])}"
        for name, value in dice.sample(list(fields.items()), len(fields))
    ]
    return Asked(method, "\r\n".join([*lines, "", ""]).encode() + (body or b""))


def is_continued(method: str, target: str, fields: dict[str, str]) -> bool:
    """Whether a request that expects 100 Continue gets it.

    Else its headers are enough to reject it, and the connection closes, since nobody knows whether
    the body follows.
    """
    return (
        (method, target) == ("POST", "/predict")
        and JSON in fields.get("Content-Type", "")
        and fields.get("X-Request-Timeout-Ms") != "soon"
    )


CASES: list[Callable[[str], str]] = [str, str.lower, str.upper, str.title]
SPACES = [" ", "", "\t", "  "]
BEHIND = defaultdict(lambda: SPACES, chunked=[" ", ""])  # llhttp rejects a tab after this


def any_pieces(dice: random.Random, data: bytes) -> list[bytes]:
    """Split bytes at random positions."""
    cuts = sorted(dice.randrange(len(data)) for _ in range(dice.choice([0, 1, 3, 10])))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]


async def compare(servers: dict[str, Server], seed: int) -> int:
    """Compare both transports on one connection; return how many requests were answered."""
    dice = random.Random(seed)  # reproducible
    requests = to_its_end(any_request(dice, number) for number in range(dice.randrange(1, 6)))
    data = b"".join(request.data for request in requests)
    llhttp, tornado = [
        await answers_of(server, requests, any_pieces(dice, data)) for server in servers.values()
    ]
    assert len(llhttp) == len(requests), f"seed {seed}: {data!r}"
    assert llhttp == tornado, f"seed {seed}: {data!r}"
    return len(llhttp)


@pytest.mark.parametrize(
    "connections",
    [100, pytest.param(2000, marks=[pytest.mark.torture, pytest.mark.timeout(900)])],
)
@pytest.mark.gen_test(timeout=900)
async def test_any_valid_requests_in_any_pieces_get_the_same_answers(connections: int) -> None:
    async with on_both() as servers:
        answered = sum([await compare(servers, seed) for seed in range(connections)])
        for server in servers.values():
            server.exchanges.clear()

    assert answered > 2 * connections


# Many at once


@over_http
async def test_1100_requests_in_one_write_are_answered_one_after_the_other() -> None:
    model = FakeModel()
    async with serving(model) as server:
        client = await server.connect()
        model.hold()
        await client.send(b"".join(predict_bytes([n]) for n in range(1100)))
        await model.called()
        other = await server.predict([1], {"X-Request-Timeout-Ms": "200"})
        assert server.service.model.batcher.queue.rows == 0  # one in progress, none queued
        model.release()
        answers = [(await client.receive()).json["prediction"] for _ in range(1100)]

    assert other.status == 504
    assert answers == [3.0 * n + 1.0 for n in range(1100)]
    assert max(len(batch) for batch in model.batches) == 1


async def until_still(look: Callable[[], int]) -> int:
    """Wait until a figure no longer changes; return it."""
    seen, last = 0, -1
    async with asyncio.timeout(SOON):
        while seen < 10:
            seen, last = (seen + 1 if look() == last else 0), look()
            await asyncio.sleep(0.03)
    return last


@over_http
async def test_a_client_is_not_read_while_its_request_is_in_progress() -> None:
    """What it sends stays in its own buffers, and takes no memory of the server."""
    model = FakeModel()
    requests = [predict_bytes([n], {"X-Long": "a" * 12_000}) for n in range(1200)]
    async with serving(model) as server:
        client = await server.connect()
        model.hold()
        client.writer.write(b"".join(requests))
        await model.called()
        unsent = await until_still(client.writer.transport.get_write_buffer_size)
        model.release()
        answers = [(await client.receive()).json["prediction"] for _ in range(1200)]

    assert unsent > 3 * MIB  # the socket buffers hold some
    assert answers == [3.0 * n + 1.0 for n in range(1200)]


@pytest.mark.torture
@over_http
async def test_a_client_that_does_not_read_its_answers_gets_no_more_of_them() -> None:
    """It gets the rest when it reads again."""
    rows = 1000  # an answer to so many has about 2 MB
    requests = [predict_bytes([[n + 0.1]] * rows) for n in range(15)]
    settings = with_settings(batching={"max_rows": rows})
    async with serving(FakeModel(WIDE), settings, start_decoder=FakeDecoders()) as server:
        client = await server.connect()
        client.pause()
        client.writer.write(b"".join(requests))
        answered = await until_still(lambda: len(server.logs.accesses))
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]  # a socket's can
        first = await client.receive()
        client.abort()

    assert first.json["prediction"][0][0] == pytest.approx(1.3)
    assert answered >= 1
    assert answered * len(first.body) < 16 * MIB  # mostly in the socket buffers


# Disconnects


@pytest.mark.parametrize("path", ["/predict", "/v2/health/live"])
@over_http
async def test_during_shutdown_one_of_several_pipelined_requests_is_answered(path: str) -> None:
    """The others are never started, so the client may send them again."""
    model = FakeModel()
    first = predict_bytes([1]) if path == "/predict" else request_bytes("GET", path)
    async with serving(model) as server:
        client = await server.connect()
        assert (await client.predict([0])).status == 200
        server.http.close_after_answers()
        await client.send(first + predict_bytes([2]) * 50)
        response = await client.receive("GET", path)
        assert await client.rest() == b""

    assert (response.status, response["Connection"].lower()) == (200, "close")
    assert 2 not in model.rows


@over_http
async def test_a_client_that_half_closes_after_its_answers_is_disconnected() -> None:
    async with serving() as server:
        for requests in (b"", predict_bytes([1]), predict_bytes([1]) * 3):
            client = await server.connect()
            await client.send(requests)
            for _ in range(requests.count(b"POST")):
                assert (await client.receive()).json == {"prediction": 4.0}
            client.half_close()
            assert await client.rest() == b""


@over_http
async def test_a_client_that_half_closes_after_many_requests_does_not_affect_others() -> None:
    model = FakeModel()
    async with serving(model) as server:
        client = await server.connect()
        model.hold()
        await client.send(predict_bytes([1]) + predict_bytes([2]) * 200)
        await model.called()
        client.half_close()
        await server.logs.access("POST /predict 499")
        model.release()
        assert (await server.predict([3])).json == {"prediction": 10.0}

    assert 2 not in model.rows
