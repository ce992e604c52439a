"""HTTPS on both transports, and the errors for wrong certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from model.signature import Signature, TensorSpec
from server.config import BatchingSettings, ConfigError
from server.transport.interface import MAX_REJECTED
from server.transport.tls import context_of
from tests.http.test_http import assert_problem
from tests.support.harness import (
    SOON,
    FakeModel,
    Server,
    over_http,
    predict_bytes,
    request_bytes,
    serving,
    with_settings,
)

DATA = Path(__file__).parents[1] / "data"
CERT, KEY = str(DATA / "tls.crt"), str(DATA / "tls.key")
PAGES = ["/", "/docs", "/openapi.json", "/v2/health/live", "/metrics", "/static/docs.js"]


def tls_settings(**more: object):
    """Return settings with the test's certificate."""
    return with_settings(http={"tls_cert": CERT, "tls_key": KEY, **more})


@contextmanager
def socket_to(server: Server) -> Iterator[socket.socket]:
    """Open a plain connection, without a TLS handshake."""
    with closing(socket.create_connection(("127.0.0.1", server.port))) as client:
        client.setblocking(False)
        yield client


async def end_of(client: socket.socket) -> bytes:
    """Read until the server closes a connection."""
    data = b""
    async with asyncio.timeout(SOON):
        try:
            while more := await asyncio.get_running_loop().sock_recv(client, 65_536):
                data += more
        except ConnectionError:
            pass
    return data


@over_http
async def test_a_connection_answers_predictions_and_pages() -> None:
    async with serving(settings=tls_settings()) as server:
        client = await server.connect()
        for number in range(3):
            response = await client.predict([number])
            assert response.json == {"prediction": 3.0 * number + 1.0}
        for path in PAGES:
            assert (await client.ask("GET", path)).status == 200
        index = (
            await client.ask("GET", "/", {"Host": "example.org", "Accept": "text/html"})
        ).body.decode()

    assert "https://example.org/predict" in index


@over_http
async def test_tls_1_2_and_1_3_are_supported_and_http_1_1_is_the_only_protocol() -> None:
    async with serving(settings=tls_settings()) as server:
        assert server.tls
        server.tls.set_alpn_protocols(["h2", "http/1.1"])
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            server.tls.minimum_version = server.tls.maximum_version = version
            client = await server.connect()
            agreed = client.writer.get_extra_info("ssl_object")
            assert (await client.predict([10])).status == 200
            assert agreed.selected_alpn_protocol() == "http/1.1"


@pytest.mark.logs_warnings
@pytest.mark.filterwarnings(
    "ignore:ssl.TLSVersion:DeprecationWarning"
)  # they are deprecated, which is the point
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@over_http
async def test_older_versions_are_rejected(version: ssl.TLSVersion, transport: str) -> None:
    said = ["SSL Error"] if transport == "tornado" else []
    async with serving(settings=tls_settings(), expected_logs=said) as server:
        assert server.tls
        server.tls.set_ciphers("DEFAULT:@SECLEVEL=0")  # a client that accepts any version
        server.tls.minimum_version = server.tls.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await server.connect()
        server.tls.maximum_version = ssl.TLSVersion.TLSv1_2  # the same client, a version later
        assert (await server.predict([10])).status == 200


def test_the_oldest_version_does_not_depend_on_the_system() -> None:
    """The system's OpenSSL configuration may allow older ones."""
    context = context_of(tls_settings().http)

    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@over_http
async def test_large_bodies_and_answers_come_through() -> None:
    data = [[n] for n in range(50_000)]
    async with serving(settings=tls_settings()) as server:
        response = await server.predict(data)

    assert response.json["prediction"] == [3.0 * n + 1.0 for n in range(50_000)]


@over_http
async def test_a_client_that_reads_slowly_gets_all_of_its_last_answer() -> None:
    """The time limit of close_notify must not cut off the answer before it."""
    data = [[n] for n in range(50_000)]
    async with serving(settings=tls_settings()) as server:
        client = await server.connect()
        client.pause()
        await client.send(predict_bytes(data, {"Connection": "close"}))
        await server.logs.access("POST /predict 200")
        await asyncio.sleep(2.0)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        response = await client.receive()
        assert await client.rest() == b""

    assert len(response.json["prediction"]) == 50_000


@over_http
async def test_a_client_that_does_not_read_its_answer_is_disconnected() -> None:
    """Bytes that are encrypted already count as unsent, too."""
    wide = Signature((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (500,), "float32"),))
    limits = replace(tls_settings(body_timeout_s=0.3), batching=BatchingSettings(max_rows=5000))
    async with serving(FakeModel(wide), limits) as server:
        client = await server.connect()
        client.pause()
        await client.send(predict_bytes([[n + 0.1] for n in range(5000)]))  # 20 MB are answered
        await server.logs.access("POST /predict 200")
        await asyncio.sleep(2.0)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answer = await client.rest()

    assert not answer.endswith(b"]}")


@over_http
async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(settings=tls_settings()) as server:
        client = await server.connect()
        await client.send(b"".join(predict_bytes([n]) for n in range(300)))
        answers = [(await client.receive()).json["prediction"] for _ in range(300)]

    assert answers == [3.0 * n + 1.0 for n in range(300)]


@pytest.mark.parametrize("how", ["close", "abort"])
@over_http
async def test_rows_of_a_client_that_disconnects_are_not_computed(how: str) -> None:
    model = FakeModel()
    async with serving(model, tls_settings()) as server:
        first, second = await server.connect(), await server.connect()
        model.hold()
        await first.send(predict_bytes([1]))
        await model.called()
        await second.send(predict_bytes([2]))
        await server.waiting(rows=1)
        getattr(second, how)()
        await server.waiting(rows=0)
        model.release()
        assert (await first.receive()).json == {"prediction": 4.0}

    assert model.rows == [1]


@pytest.mark.logs_warnings
@over_http
async def test_a_client_without_tls_does_not_affect_others(transport: str) -> None:
    said = ["SSL Error"] if transport == "tornado" else []  # Tornado logs a warning for each
    async with serving(settings=tls_settings(), expected_logs=said) as server:
        for data in (bytes(100), b"\x16\x03\x01\x00\x05hello" + bytes(100)):
            with socket_to(server) as client:
                client.sendall(data)
                assert b"HTTP" not in await end_of(client)
        for on, seconds in ((0, 0), (1, 0)):  # disconnects, and resets
            with socket_to(server) as client:
                client.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, seconds)
                )
                client.sendall(predict_bytes([1]))
        assert (await server.predict([10])).status == 200


@over_http
async def test_an_incomplete_handshake_is_closed() -> None:
    async with serving(settings=tls_settings(header_timeout_s=0.3)) as server:
        for start in (b"", b"\x16\x03\x01\x02\x00\x01"):
            with socket_to(server) as client:
                started = time.monotonic()
                client.sendall(start)
                await end_of(client)
                assert 0.25 <= time.monotonic() - started < 5.0
        assert (await server.predict([10])).status == 200


@over_http
async def test_connections_count_during_their_handshake() -> None:
    """Otherwise unfinished handshakes would have no limit."""
    bound = 2 + MAX_REJECTED
    settings = tls_settings(max_connections=2, header_timeout_s=30)
    async with serving(settings=settings) as server:
        clients = [
            await asyncio.open_connection("127.0.0.1", server.port) for _ in range(bound + 10)
        ]
        ended = [asyncio.ensure_future(until_closed(reader)) for reader, _ in clients]
        await asyncio.wait(ended, timeout=SOON, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0.5)
        still_open = sum(not task.done() for task in ended)
        for _, writer in clients:
            writer.close()
        await asyncio.wait(ended)

    assert 2 <= still_open <= bound


async def until_closed(reader: asyncio.StreamReader) -> None:
    """Wait until a connection is closed."""
    with suppress(ConnectionError):
        await reader.read()


@over_http
async def test_a_connection_over_the_limit_gets_503() -> None:
    async with serving(settings=tls_settings(max_connections=2)) as server:
        kept = [await server.connect() for _ in range(2)]
        for client in kept:
            assert (await client.predict([10])).status == 200
        third = await server.connect()
        assert (await third.receive()).status == 503
        third.close()
        assert (await kept[0].predict([10])).status == 200


@over_http
async def test_clients_that_never_send_close_notify_do_not_delay_shutdown() -> None:
    """Clients that do not read: idle ones in a pool, and ones within their handshake."""
    async with serving(settings=tls_settings()) as server:
        assert server.tls
        with socket_to(server) as silent, socket_to(server) as idle:
            tls = server.tls.wrap_bio(incoming := ssl.MemoryBIO(), outgoing := ssl.MemoryBIO())
            await _shake_hands(tls, incoming, outgoing, idle)
            started = time.monotonic()
            server.let_go()
            server.http.stop()
            await server.http.close_all_connections()
            assert time.monotonic() - started < 5.0
            assert silent.fileno() >= 0


async def _shake_hands(
    tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, to: socket.socket
) -> None:
    """Do the TLS handshake, and nothing more."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            await loop.sock_sendall(to, outgoing.read())
            incoming.write(await loop.sock_recv(to, 65_536))
    await loop.sock_sendall(to, outgoing.read())


@over_http
async def test_predictions_are_answered_during_the_grace_period_and_connections_close() -> None:
    async with serving(settings=tls_settings()) as server:
        client = await server.connect()
        assert (await client.predict([10])).status == 200
        server.http.close_after_answers()
        response = await client.predict([10])
        assert await client.rest() == b""

    assert (response.status, response["Connection"].lower()) == (200, "close")


@over_http
async def test_the_limits_are_the_same() -> None:
    async with serving(settings=tls_settings(max_body_bytes=100, body_timeout_s=0.3)) as server:
        assert (await server.post(b" " * 200)).status == 413
        client = await server.connect()
        await client.send(b"hello\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        slow = await server.connect()
        await slow.send(request_bytes("POST", "/predict", {"Content-Length": "50"}))
        assert_problem(await slow.receive(), 408, "late-body")
        long = await server.connect()
        await long.send(request_bytes("GET", "/" + "a" * 20_000))
        assert_problem(await long.receive(), 431, "headers-too-large")
        assert await long.rest() == b""
        refused = await server.connect()
        await refused.send(
            request_bytes("POST", "/nothing", {"Content-Length": "50", "Expect": "100-continue"})
        )
        assert_problem(await refused.receive(path="/nothing"), 404, "not-found")
        assert await refused.rest() == b""


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@over_http
async def test_a_request_without_tls_is_told_to_use_https(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with serving(settings=tls_settings()) as server:
        for path, form in (
            ("/v2/models/m", "application/json"),
            ("/a", "application/problem+json"),
        ):
            with socket_to(server) as client:
                client.sendall(request_bytes(method, f"{path}?a=b", {}, b" " * 5000))
                head, _, body = (await end_of(client)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            assert f"Content-Type: {form}".encode() in head
            assert b"https://" in body
            assert f"rejected {method} {path} from 127.0.0.1 with 400: " in caplog.text
        assert (await server.predict([10])).status == 200
        assert server.service.counts.rejections["plain_http"] == 2


# Settings


def error_for(cert: object, key: object) -> str:
    """Return the error for a certificate and a key, a single line."""
    with pytest.raises(ConfigError) as caught:
        context_of(with_settings(http={"tls_cert": str(cert), "tls_key": str(key)}).http)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def other_key(tmp_path: Path) -> Path:
    """A valid key of another certificate."""
    path = tmp_path / "other.key"
    path.write_text(OTHER_KEY)
    return path


OTHER_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgnChn86GuCnxiE324
J1bl9FSJIsWPVaIV+mdo2lmGQB6hRANCAARLqv4d9Y7efHrZDtGqkTOsBCM2wwJr
LrBz2d3dG/bi6KSYy+U/lO25vJnrW4JAHskAf2Wpj0E4bu9ekSiPwXIn
-----END PRIVATE KEY-----
"""
LOCKED_KEY = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhPMwL32VMkSAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEO4yrmajpIYw+ZxLF52+Fw0EgZAV
vhfmgwV4caT2KvLhBWe2hCBrL8Z3rc0N+YPDmgr7xB7hZ9MQZLCf0he9uj46q6eY
YvVQMSp4YAHmrR3za8ArJgmM+Zd/M1+2bl9fuJms0CyObWjuYjdGxNM5td0OKfrV
frYWeAQL6Rg2nt68MSxui5ILn6EGS+6g7XjB2hRDX5eSTDq2hygio5ZOvS72d98=
-----END ENCRYPTED PRIVATE KEY-----
"""


def test_without_a_certificate_there_is_no_tls() -> None:
    assert context_of(with_settings().http) is None


def test_a_certificate_needs_a_key_and_a_key_a_certificate() -> None:
    assert error_for(CERT, "") == "http.tls_key: HTTPS needs both a certificate and a key"
    assert error_for("", KEY) == "http.tls_cert: HTTPS needs both a certificate and a key"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"

    for cert, key, setting in ((missing, KEY, "tls_cert"), (CERT, missing, "tls_key")):
        text = error_for(cert, key)
        assert text.startswith(f"http.{setting}: '{missing}' cannot be read: No such file")
    assert "Is a directory" in error_for(tmp_path, KEY)
    assert "null byte" in error_for("a\0b", KEY)


def test_files_that_do_not_belong_together_are_named(tmp_path: Path, other_key: Path) -> None:
    empty, words, locked = tmp_path / "empty", tmp_path / "words", tmp_path / "locked"
    empty.write_text("")
    words.write_text("hello")
    locked.write_text(LOCKED_KEY)

    for cert, key in ((CERT, other_key), (empty, KEY), (CERT, words), (KEY, CERT), (CERT, CERT)):
        text = error_for(cert, key)
        assert text.startswith(
            f"http.tls_cert: {cert} and {key} are not a certificate and its key: "
        )
    assert error_for(CERT, locked).endswith("the key is encrypted")
