"""Large bodies and answers over real sockets; decoder processes are fakes that a test can hold."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from model.signature import Signature, TensorSpec
from server.dialects.interface import SLOW_JSON
from server.logs import PayloadLog
from server.serving.decoders.jobs import JOBS
from tests.http.test_http import assert_problem
from tests.support.fake_decoder import FakeDecoders
from tests.support.harness import (
    JSON,
    NUMBER,
    SOON,
    Client,
    FakeModel,
    Response,
    Server,
    over_http,
    request_bytes,
    serving,
    with_settings,
)

LARGE = SLOW_JSON
# Both are too long for the explanation of every error in them.
SIZES = (2048, LARGE)
PATHS = {
    "native": "/predict",
    "tfserving": "/v1/models/my_best_model:predict",
    "v2": "/v2/models/my_best_model/infer",
}
TENSOR = '{"inputs":[{"name":"x","shape":[2,1],"datatype":"FP32","data":%s}]}'
BODIES = [
    ("native", '{"data":[[1],[2]]}'),
    ("native", '{"data":[[1],["a"]]}'),
    ("native", '{"data":[[1],[NaN]]}'),
    ("native", '{"data":[[1e300]]}'),
    ("tfserving", '{"instances":[[1],[2]]}'),
    ("tfserving", '{"instances":[[1],[2,3]]}'),
    ("v2", TENSOR % "[1,2]"),
    ("v2", TENSOR % "[1]"),
]
WIDE = Signature(NUMBER.inputs, (TensorSpec("y", (30_000,), "float32"),))
ANY_WIDTH = Signature(NUMBER.inputs, (TensorSpec("y", (None,), "float32"),))


def padded(body: str, size: int = LARGE) -> bytes:
    """Return a body of this size: with white space at its end."""
    return body.encode().ljust(size)


ONE = padded('{"data":[7]}')


@pytest.fixture
def decoders() -> FakeDecoders:
    """Fake decoder processes; they count what they do."""
    return FakeDecoders(JOBS)


def comparable(response: Response) -> Any:
    """Return what must not depend on where a request was decoded."""
    return response.status, response["Content-Type"], response.body


@pytest.mark.parametrize("dialect, body", BODIES)
@over_http
async def test_answers_and_errors_are_the_same_on_both_sides_of_the_limit(
    dialect: str, body: str, decoders: FakeDecoders
) -> None:
    async with serving(start_decoder=decoders) as server:
        headers = {"Content-Type": JSON, "X-Request-ID": "same"}
        small, large = [
            await server.ask("POST", PATHS[dialect], headers, padded(body, size)) for size in SIZES
        ]

        assert comparable(small) == comparable(large)
        assert [decoder.jobs for decoder in decoders.started] == [["decode"]]


@over_http
async def test_arrays_are_decoded_where_they_arrive(decoders: FakeDecoders) -> None:
    """Their cells are not looked at one by one, so that is faster."""
    async with serving(start_decoder=decoders) as server:
        cells = np.ones((LARGE, 1), np.float32)
        description = {"name": "x", "shape": cells.shape, "datatype": "FP32"}
        head = json.dumps(
            {"inputs": [{**description, "parameters": {"binary_data_size": cells.nbytes}}]}
        ).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        body = head + cells.tobytes()
        too_short = await server.ask("POST", PATHS["v2"], headers, body[:-4])

        assert too_short.status == 400
        assert decoders.started == []


@over_http
async def test_the_payload_log_shows_large_bodies_and_answers(
    decoders: FakeDecoders, tmp_path: Any
) -> None:
    log = PayloadLog(str(tmp_path / "log"), max_bytes=100)
    async with serving(FakeModel(WIDE), payload_log=log, start_decoder=decoders) as server:
        assert (await server.post(ONE)).status == 200
        assert (await server.post(padded('{"data":' + " " * 200 + "[7]}"))).status == 200
        assert decoders.started[0].jobs == ["decode", "encode"] * 2
    log.close(5.0)

    first, second = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert first["input"] == [7]
    assert first["prediction"] is None
    assert first["prediction_bytes"] > LARGE // 2
    assert second["input"] is None
    assert second["input_bytes"] == 203


@pytest.mark.parametrize("signature", [WIDE, ANY_WIDTH], ids=["foreseen", "seen"])
@over_http
async def test_large_answers_are_encoded_by_a_decoder_process(
    signature: Signature, decoders: FakeDecoders
) -> None:
    """Also if their size is known only when they are there."""
    model = FakeModel(signature)
    rows = [[7.0]] * (1 if signature is WIDE else 20_000)
    async with serving(model, start_decoder=decoders) as server:
        answer = await server.predict(rows)

        assert np.unique(answer.json["prediction"]).tolist() == [22.0]
        assert "encode" in decoders.started[0].jobs


@over_http
async def test_small_requests_start_no_process(decoders: FakeDecoders) -> None:
    async with serving(start_decoder=decoders) as server:
        assert (await server.post(b'{"data":[7]}'.ljust(LARGE - 1))).status == 200
        assert decoders.started == []


async def held(server: Server, nbytes: int) -> None:
    """Wait until so many bytes are being decoded."""
    async with asyncio.timeout(SOON):
        while server.service.model.batcher.held_bytes != nbytes:
            await asyncio.sleep(0.001)


async def sending(server: Server, body: bytes = ONE) -> Client:
    """Send a request; do not wait for its answer."""
    client = await server.connect()
    await client.send(request_bytes("POST", "/predict", {"Content-Type": JSON}, body))
    return client


@over_http
async def test_a_client_that_disconnects_frees_its_place(decoders: FakeDecoders) -> None:
    """Whether its body is being decoded or waits for that."""
    model = FakeModel()
    decoders.starts_held = True
    async with serving(model, start_decoder=decoders) as server:
        decoded, waiting = await sending(server), await sending(server)
        await held(server, 2 * LARGE)
        waiting.abort()
        await held(server, LARGE)
        decoded.abort()
        await held(server, 0)
        assert await server.logs.access("499")
        decoders.started[0].free.set()
        assert (await server.post(ONE)).json == {"prediction": 22.0}
        assert model.batches == [[7.0]]
        assert server.service.counts.cancellations == 2


@over_http
async def test_the_deadline_counts_while_a_body_is_decoded(decoders: FakeDecoders) -> None:
    decoders.starts_held = True
    async with serving(start_decoder=decoders) as server:
        late = await server.post(ONE, {"X-Request-Timeout-Ms": "20"})

        assert_problem(late, 504, "deadline-exceeded")
        assert server.service.counts.expiries == 1
        decoders.started[0].free.set()


@over_http
async def test_the_deadline_counts_while_an_answer_is_encoded(decoders: FakeDecoders) -> None:
    decoders.starts_held = True
    async with serving(FakeModel(WIDE), start_decoder=decoders) as server:
        late = await server.predict([7], {"X-Request-Timeout-Ms": "100"})

        assert_problem(late, 504, "deadline-exceeded")
        decoders.started[0].free.set()


@over_http
async def test_bodies_that_are_decoded_count_as_queue_bytes(decoders: FakeDecoders) -> None:
    decoders.starts_held = True
    settings = with_settings(batching={"queue_bytes": 2 * LARGE + 100})
    async with serving(settings=settings, start_decoder=decoders) as server:
        clients = [await sending(server) for _ in range(2)]
        await held(server, 2 * LARGE)
        metrics = (await server.ask("GET", "/metrics")).body.decode()
        rejected = await server.post(ONE)
        decoders.started[0].free.set()

        assert_problem(rejected, 503, "overloaded")
        assert f"predict_queue_bytes {2 * LARGE:.1f}" in metrics
        assert [(await client.receive()).status for client in clients] == [200, 200]


@over_http
async def test_the_expected_wait_counts_decoding(decoders: FakeDecoders) -> None:
    """Once two bodies have told how long one takes."""
    settings = with_settings(batching={"max_queue_ms": 0.001})
    async with serving(settings=settings, start_decoder=decoders) as server:
        assert (await server.post(ONE)).status == 200
        decoders.started[0].free.clear()
        client = await sending(server)
        await held(server, LARGE)
        rejected = await server.post(ONE)
        decoders.started[0].free.set()

        assert_problem(rejected, 503, "overloaded")
        assert (await client.receive()).status == 200


@over_http
async def test_the_expected_wait_counts_encoding(decoders: FakeDecoders) -> None:
    """Of answers that the model has still to compute, too."""
    model = FakeModel(WIDE)
    settings = with_settings(batching={"max_queue_ms": 0.001})
    async with serving(model, settings, start_decoder=decoders) as server:
        assert (await server.predict([1])).status == 200
        model.hold()
        client = await sending(server, b'{"data":[2]}')
        await model.called(2)
        rejected = await server.predict([3])
        model.release()

        assert_problem(rejected, 503, "overloaded")
        assert (await client.receive()).status == 200


@over_http
async def test_a_version_that_is_replaced_answers_what_is_being_decoded(
    decoders: FakeDecoders,
) -> None:
    decoders.starts_held = True
    async with serving(start_decoder=decoders) as server:
        client = await sending(server)
        await held(server, LARGE)
        retiring = asyncio.ensure_future(server.service.model.drain())
        await asyncio.sleep(0)
        rejected = await server.predict([1])
        assert not retiring.done()
        decoders.started[0].free.set()

        assert (await client.receive()).json == {"prediction": 22.0}
        await asyncio.wait_for(retiring, SOON)
        assert_problem(rejected, 503, "draining")


@pytest.mark.logs_warnings
@over_http
async def test_a_request_that_ends_two_decoder_processes_gets_500(decoders: FakeDecoders) -> None:
    decoders.starts_held = True
    expected = ["another one is started"]
    async with serving(start_decoder=decoders, expected_logs=expected) as server:
        client = await sending(server)
        (await decoders.working()).kill()
        (await decoders.working(starts=2)).kill()
        failed = await client.receive()
        decoders.starts_held = False

        assert_problem(failed, 500, "decoder-failed")
        assert (await server.post(ONE)).json == {"prediction": 22.0}
        metrics = (await server.ask("GET", "/metrics")).body.decode()
        assert 'predict_decoders_ended_total{reason="killed"} 2.0' in metrics


@over_http
async def test_a_real_decoder_process_does_the_same() -> None:
    async with serving(FakeModel(WIDE)) as server:
        answer = await server.post(ONE)
        invalid = await server.post(padded('{"data":["a"]}'))

        assert np.unique(answer.json["prediction"]).tolist() == [22.0]
        assert_problem(invalid, 422, "invalid-data", "errors")
        assert len(server.service.decoders.pids) == 1
