"""W3C Trace Context: `traceparent` in requests, answers and logs."""

from __future__ import annotations

import json

import pytest

from server.http.tracing import trace_of
from server.logs.format import Access, json_format
from tests.support.harness import (
    JSON,
    FakeModel,
    over_http,
    predict_bytes,
    serving,
    with_settings,
)

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
INVALID = [
    *("", "00", TRACE.upper(), TRACE + "-x", TRACE.replace("00-", "ff-", 1), f" {TRACE}"),
    f"00-{32 * '0'}-00f067aa0ba902b7-01",
    f"00-4bf92f3577b34da6a3ce929d0e0e4736-{16 * '0'}-01",
    f"{TRACE},{TRACE}",
]


@over_http
async def test_answers_and_access_lines_have_the_trace_of_the_request() -> None:
    async with serving() as server:
        for method, path in (("POST", "/predict"), ("GET", "/v2"), ("GET", "/nothing")):
            body = b'{"data": [10]}' if method == "POST" else None
            headers = {"Content-Type": JSON, "traceparent": TRACE}
            response = await server.ask(method, path, headers, body)
            assert response["traceparent"] == TRACE
            await server.logs.access(path, f"trace {TRACE}")


@over_http
async def test_a_body_that_is_too_large_is_answered_with_the_trace() -> None:
    async with serving(settings=with_settings(http={"max_body_bytes": 100})) as server:
        response = await server.post(bytes(200), {"traceparent": TRACE})
        await server.logs.access("413", f"trace {TRACE}")

    assert (response.status, response["traceparent"]) == (413, TRACE)


@over_http
async def test_an_invalid_trace_is_left_out() -> None:
    async with serving() as server:
        client = await server.connect()
        for invalid in INVALID[1:]:
            await client.send(predict_bytes([10], {"traceparent": invalid}))
            response = await client.receive()
            is_spaced = invalid.startswith(" ")  # spaces around a value are no part of it
            assert (response.status, "traceparent" in response) == (200, is_spaced)


@pytest.mark.logs_warnings
@over_http
async def test_errors_of_the_model_are_logged_with_the_trace() -> None:
    model = FakeModel()
    async with serving(model, expected_logs=["the model failed"]) as server:
        model.poison = {10.0}
        await server.predict([10], {"traceparent": TRACE})
        record = server.logs.serious[-1]

    assert vars(record)["trace_id"] == TRACE[3:35]


@pytest.mark.parametrize("invalid", INVALID)
def test_invalid_traces(invalid: str) -> None:
    assert trace_of({"traceparent": invalid}) == ""


def test_a_later_version_may_have_more_fields() -> None:
    later = TRACE.replace("00-", "cc-", 1)

    assert trace_of({"traceparent": f"{later}-more"}) == later


def test_a_json_line_has_trace_and_span() -> None:
    line = json_format().access(0.0, Access("GET", "/", 200, 0.1, "a", "::1", "", TRACE))

    assert json.loads(line)["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert json.loads(line)["span_id"] == "00f067aa0ba902b7"
