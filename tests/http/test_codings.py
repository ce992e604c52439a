"""Compressed requests and answers."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import threading
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from backports import zstd

from server.config import ApiKey, HttpSettings
from server.dialects.json_body import CODINGS
from server.errors import BodyTooLarge, InvalidRequest
from server.http.codings import COMPRESS, Codings, decompressed, preferred
from server.http.message import Request
from tests.http.test_http import assert_problem
from tests.support.harness import JSON, SOON, TEST_SECONDS, over_http, serving, with_settings

ORIGIN = "https://shop.example"
KEY = ApiKey("app", hashlib.sha256(b"app").hexdigest(), ("predict",))
BODY = b'{"data":[10]}'
MIB = 2**20


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


WAYS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZIP", gzip.compress),
    "gzip in two members": ("gzip", lambda b: gzip.compress(b[:5]) + gzip.compress(b[5:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without zlib's frame": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd.compress),
    "zstd in two frames": ("zstd", lambda b: zstd.compress(b[:5]) + zstd.compress(b[5:])),
}
BOMBS = {
    "gzip": gzip.compress(bytes(64 * MIB)),
    "deflate": zlib.compress(bytes(64 * MIB)),
    "zstd": zstd.compress(bytes(64 * MIB)),
}


@pytest.mark.parametrize("way", WAYS)
@over_http
async def test_a_compressed_request_is_answered_like_any_other(way: str) -> None:
    coding, compress = WAYS[way]
    async with serving() as server:
        response = await server.post(compress(BODY), {"Content-Encoding": coding})

    assert (response.status, response.json["prediction"]) == (200, 31)


@over_http
async def test_every_protocol_takes_compressed_requests() -> None:
    v2 = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [10]}]}
    asked = {
        "/v1/models/model:predict": {"instances": [[10]]},
        "/v2/models/model/infer": v2,
    }
    async with serving() as server:
        name = server.service.model.name
        for path, document in asked.items():
            body = gzip.compress(json.dumps(document).encode())
            headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
            target = path.replace("/model/", f"/{name}/").replace("/model:", f"/{name}:")
            response = await server.ask("POST", target, headers, body)
            assert response.status == 200, response.body


@over_http
async def test_a_large_compressed_body_is_answered_like_any_other() -> None:
    body = zstd.compress(b'{"data":[10]' + b" " * 200_000 + b"}")
    async with serving() as server:
        response = await server.post(body, {"Content-Encoding": "zstd"})

    assert response.json["prediction"] == 31


@pytest.mark.parametrize("coding", BOMBS)
@over_http
async def test_a_bomb_is_413(coding: str) -> None:
    async with serving(settings=with_settings(http={"max_body_bytes": 100_000})) as server:
        response = await server.post(BOMBS[coding], {"Content-Encoding": coding})
        assert_problem(response, 413, "body-too-large")

        assert (await server.predict([10])).status == 200


@pytest.mark.parametrize("coding", BOMBS)
def test_decompression_stops_at_the_limit(coding: str) -> None:
    tracemalloc.start()
    with pytest.raises(BodyTooLarge):
        decompressed(coding, BOMBS[coding], MIB)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 * MIB


@pytest.mark.gen_test(timeout=TEST_SECONDS)
async def test_at_most_two_large_bodies_are_decompressed_and_not_used_yet() -> None:
    lock, both = threading.Lock(), threading.Event()
    begun = used = most = 0

    def counted(coding: str, body: bytes, limit: int) -> bytes:
        nonlocal begun, most
        if limit < MIB:  # the first attempt, on the event loop
            raise BodyTooLarge
        with lock:
            begun += 1
            most = max(most, begun - used)
        if begun >= 2:
            both.set()
        both.wait(SOON)
        return body

    async def use() -> None:
        nonlocal used
        await codings.decoded(Request("1", {"content-encoding": "gzip"}, b"x"))
        used += 1

    codings = Codings(HttpSettings(max_body_bytes=MIB), decompress=counted)
    await asyncio.gather(*(use() for _ in range(20)))

    assert (begun, most) == (20, 2)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_of_just_the_limit_is_not_too_large(coding: str) -> None:
    body = COMPRESS[coding](bytes(5000))

    assert decompressed(coding, body, 5000) == bytes(5000)
    with pytest.raises(BodyTooLarge):
        decompressed(coding, body, 4999)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("spoil", ["cut", "other", "behind"])
def test_damaged_data_is_rejected(coding: str, spoil: str) -> None:
    whole = COMPRESS[coding](BODY * 100)
    body = {"cut": whole[:-3], "other": b"\x00" + whole, "behind": whole + b"{}"}[spoil]

    with pytest.raises(InvalidRequest):
        decompressed(coding, body, MIB)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_many_empty_parts_are_rejected(coding: str) -> None:
    with pytest.raises(InvalidRequest, match="more than 16 parts"):
        decompressed(coding, COMPRESS[coding](b"") * 100_000, MIB)


def test_zstd_may_not_ask_for_a_large_window() -> None:
    options = {zstd.CompressionParameter.window_log: 27}
    packer = zstd.ZstdCompressor(options=options)
    body = packer.compress(b"x" * 1000) + packer.flush(zstd.ZstdCompressor.FLUSH_FRAME)

    with pytest.raises(InvalidRequest, match="not valid zstd"):
        decompressed("zstd", body, MIB)


@over_http
async def test_damaged_data_is_400_and_keeps_the_connection() -> None:
    async with serving() as server:
        client = await server.connect()
        assert_problem(
            await client.post(b"no gzip", {"Content-Encoding": "gzip"}), 400, "invalid-request"
        )
        assert (await client.predict([10])).status == 200


@over_http
async def test_a_key_is_asked_for_before_a_body_is_decompressed() -> None:
    settings = with_settings(auth={"api_keys": (KEY,)})
    async with serving(settings=settings) as server:
        response = await server.post(b"no gzip", {"Content-Encoding": "gzip"})

    assert response.status == 401


@over_http
async def test_large_answers_are_compressed_for_those_who_ask() -> None:
    data = [[float(number)] for number in range(5000)]
    open_ = {"gzip": gzip.decompress, "deflate": zlib.decompress, "zstd": zstd.decompress}
    async with serving() as server:
        plain = await server.predict(data)
        assert "Content-Encoding" not in plain
        assert plain["Vary"] == "Accept-Encoding"
        for coding, opened in open_.items():
            response = await server.predict(data, {"Accept-Encoding": coding})
            assert response["Content-Encoding"] == coding
            assert len(response.body) < len(plain.body) / 2
            assert opened(response.body) == plain.body


@over_http
async def test_small_answers_are_never_compressed() -> None:
    async with serving() as server:
        response = await server.predict([10], {"Accept-Encoding": "gzip, zstd"})

    assert "Content-Encoding" not in response
    assert "Vary" not in response


@over_http
async def test_answers_are_not_compressed_when_that_is_off() -> None:
    settings = with_settings(http={"compress_min_bytes": 0})
    async with serving(settings=settings) as server:
        response = await server.predict([[1.0]] * 5000, {"Accept-Encoding": "gzip"})

    assert "Content-Encoding" not in response


@over_http
async def test_tensors_in_bytes_are_not_compressed() -> None:

    file = io.BytesIO()
    np.save(file, np.zeros((20_000, 1), np.float32))
    headers = {"Content-Type": "application/x-npy", "Accept-Encoding": "gzip"}
    async with serving() as server:
        response = await server.ask("POST", "/predict", headers, file.getvalue())

    assert (response.status, "Content-Encoding" in response) == (200, False)


@over_http
async def test_large_documents_are_compressed_for_those_who_ask() -> None:
    settings = with_settings(http={"compress_min_bytes": 1000, "cors_origins": (ORIGIN,)})
    async with serving(settings=settings) as server:
        plain = await server.ask("GET", "/metrics")
        zipped = await server.ask("GET", "/metrics", {"Accept-Encoding": "gzip", "Origin": ORIGIN})

    assert "Content-Encoding" not in plain
    assert zipped["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.body).startswith(plain.body[:100])
    vary = [word.strip() for value in zipped.all("Vary") for word in value.split(",")]
    assert sorted(vary) == ["Accept", "Accept-Encoding", "Origin"]


@pytest.mark.parametrize(
    "header, coding",
    [
        *[("gzip", "gzip"), ("deflate, gzip;q=0.5, br", "deflate"), ("GZIP", "gzip")],
        *[("x-gzip", "gzip"), ("", ""), ("br", ""), ("gzip;q=0", ""), ("gzip; q=0.000", "")],
        *[("*", ""), ("gzip;q=0.001", "gzip"), ("gzip;q=1.0", "gzip"), ("gzipped", "")],
        *[("gzip, deflate, br, zstd", "zstd"), ("gzip;q=0.5, zstd;q=0.1", "gzip")],
        *[("identity, gzip;q=0.5", ""), ("gzip;q=x", ""), ("identity;q=0.5, gzip", "gzip")],
    ],
)
def test_the_coding_that_the_client_likes_most_is_chosen(header: str, coding: str) -> None:
    assert preferred(header) == coding
