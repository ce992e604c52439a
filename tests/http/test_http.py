"""Status, headers and body of every kind of response."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from server.logs import PayloadLog
from tests.support.fake_process import in_threads
from tests.support.harness import (
    JSON,
    PROBLEM_JSON,
    FakeModel,
    Response,
    listening,
    over_http,
    request_bytes,
    serving,
    with_settings,
)

MS = r"\d+(\.\d+)?"
SERVER_TIMING = re.compile(
    rf'queue;dur={MS}, model;dur={MS}, batch;desc="(?P<rows>\d+) rows", total;dur={MS}'
)
OUR_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def assert_common_headers(response: Response) -> None:
    """Assert that a response has the common headers, each once."""
    assert OUR_ID.fullmatch(response["X-Request-ID"])
    assert response["Cache-Control"] == "no-store"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "ETag" not in response
    server = "".join(response.all("Server"))
    assert not re.search(r"\d|tornado|python", server, re.IGNORECASE), server
    names = [name.lower() for name, _ in response.headers]
    assert len(set(names)) == len(names), names


def assert_problem(response: Response, status: int, slug: str, *extensions: str) -> Any:
    """Assert that a response is a problem document for its request; return it."""
    assert (response.status, response["Content-Type"]) == (status, PROBLEM_JSON), response
    assert_common_headers(response)
    document = response.json
    assert set(document) == {"type", "title", "status", "detail", "instance", *extensions}
    assert document["type"] == f"/problems/{slug}"
    assert document["title"]
    assert document["status"] == status
    assert document["detail"]
    assert document["instance"] == response["X-Request-ID"]
    assert "Traceback" not in document["detail"]
    return document


def assert_plain_error(response: Response, status: int) -> str:
    """Assert that a response is an error as below `/v1` and `/v2`; return its text."""
    assert (response.status, response["Content-Type"]) == (status, JSON), response
    assert_common_headers(response)
    assert list(response.json) == ["error"]
    text: str = response.json["error"]
    assert text
    assert "Traceback" not in text
    return text


def assert_retry_after(response: Response) -> None:
    """Assert that a response has Retry-After in whole seconds."""
    assert re.fullmatch(r"[1-9]\d*", response["Retry-After"])


# Success


@over_http
async def test_one_example_gets_one_prediction() -> None:
    async with serving() as server:
        response = await server.predict([10])

    assert (response.status, response.json) == (200, {"prediction": 31.0})
    assert response["Content-Type"] == JSON
    assert response["X-Model-Version"] == "1"
    assert_common_headers(response)


@over_http
async def test_a_batch_gets_a_list_in_the_same_order() -> None:
    async with serving() as server:
        response = await server.predict([[10], [20], [-1]])

    assert (response.status, response.json) == (200, {"prediction": [31.0, 61.0, -2.0]})


@over_http
async def test_server_timing_has_the_times_and_the_rows_of_the_batch() -> None:
    async with serving() as server:
        response = await server.predict([[10], [20], [30]])

    match = SERVER_TIMING.fullmatch(response["Server-Timing"])
    assert match, response["Server-Timing"]
    assert match["rows"] == "3"


@over_http
async def test_server_timing_adds_up() -> None:
    model = FakeModel()
    model.seconds = 0.05
    async with serving(model) as server:
        response = await server.predict([10])

    queue, took, total = map(float, re.findall(r"dur=([\d.]+)", response["Server-Timing"]))
    assert 45 <= took <= total
    assert 0 <= queue <= total


@over_http
async def test_the_model_version_is_the_configured_one() -> None:
    async with serving(settings=with_settings(model={"version": "2026-03-a"})) as server:
        response = await server.predict([10])

    assert response["X-Model-Version"] == "2026-03-a"


@over_http
async def test_a_valid_request_id_is_kept(subtests: pytest.Subtests) -> None:
    async with serving() as server:
        for id_ in ("a", "7", "A.b_c-D9", "Root=1-67:a/b+c==", "x" * 128):
            answered = await server.predict([10], {"X-Request-ID": id_})
            refused = await server.predict("?", {"X-Request-ID": id_})
            elsewhere = await server.ask("GET", "/v2/health/live", {"X-Request-ID": id_})
            with subtests.test(id=id_):
                assert {r["X-Request-ID"] for r in (answered, refused, elsewhere)} == {id_}
                assert refused.json["instance"] == id_


@over_http
async def test_an_invalid_request_id_is_replaced(subtests: pytest.Subtests) -> None:
    async with serving() as server:
        for id_ in ("", "x" * 129, "a b", "é", 'a"b', "a,b", "<b>"):
            answered = await server.predict([10], {"X-Request-ID": id_})
            refused = await server.predict("?", {"X-Request-ID": id_})
            with subtests.test(id=id_):
                assert answered["X-Request-ID"] != refused["X-Request-ID"]
                for response in (answered, refused):
                    assert response["X-Request-ID"] != id_
                    assert OUR_ID.fullmatch(response["X-Request-ID"])


@over_http
async def test_an_id_that_is_replaced_is_in_the_access_line() -> None:
    """A client that looks for its own id in the log finds the request."""
    settings = with_settings(http={"max_body_bytes": 100})
    async with serving(settings=settings) as server:
        for number, ask in enumerate(
            (
                server.predict([10], {"X-Request-ID": "my id 0"}),
                server.ask("GET", "/v2/health/live", {"X-Request-ID": "my id 1"}),
                server.post(b" " * 200, {"X-Request-ID": "my id 2"}),
            )
        ):
            response = await ask
            line = await server.logs.access(f"in place of 'my id {number}'")
            assert response["X-Request-ID"] in line
        await server.predict([10], {"X-Request-ID": "mine"})
        line = await server.logs.access(" mine from ")

    assert "in place of" not in line


@over_http
async def test_parameters_and_case_of_the_media_type_are_ignored() -> None:
    async with serving() as server:
        for media_type in (f"{JSON}; charset=utf-8", "Application/JSON", f"{JSON};charset=UTF-8"):
            response = await server.post(b'{"data":[10]}', {"Content-Type": media_type})
            assert response.json == {"prediction": 31.0}


@over_http
async def test_a_chunked_body_is_accepted() -> None:
    async with serving() as server:
        client = await server.connect()
        await client.send(
            request_bytes(
                "POST", "/predict", {"Content-Type": JSON, "Transfer-Encoding": "chunked"}
            )
        )
        await client.send(b'3\r\n{"d\r\n8\r\nata":[10\r\n2\r\n]}\r\n0\r\n\r\n')
        response = await client.receive()

    assert response.json == {"prediction": 31.0}


@over_http
async def test_a_client_that_expects_100_continue_gets_it() -> None:
    async with serving() as server:
        client = await server.connect()
        headers = {"Content-Type": JSON, "Content-Length": "13", "Expect": "100-continue"}
        await client.send(request_bytes("POST", "/predict", headers))
        assert (await client.receive()).status == 100
        await client.send(b'{"data":[10]}')
        response = await client.receive()

    assert response.json == {"prediction": 31.0}


@over_http
async def test_a_query_is_ignored() -> None:
    async with serving() as server:
        response = await server.ask(
            "POST", "/predict?a=1&b=%ff", {"Content-Type": JSON}, b'{"data":[10]}'
        )

    assert response.json == {"prediction": 31.0}


# Refused: the body

NOT_JSON = {
    "nothing": b"",
    "spaces": b"  \n",
    "words": b"hello",
    "cut": b'{"data": [10',
    "two documents": b'{"data":[10]}{"data":[10]}',
    "single quotes": b"{'data': [10]}",
    "trailing comma": b'{"data": [10,]}',
    "comment": b'{"data": [10]} // ten',
    "hexadecimal": b'{"data": [0x10]}',
    "leading zero": b'{"data": [010]}',
    "plus": b'{"data": [+10]}',
    "bare point": b'{"data": [10.]}',
    "NaN": b'{"data": [NaN]}',
    "Infinity": b'{"data": [Infinity]}',
    "-Infinity": b'{"data": [-Infinity]}',
    "bad UTF-8": b'{"data\xff": [10]}',
    "overlong UTF-8": b'{"\xc0\xaf": [10]}',
    "UTF-8 surrogate": b'{"\xed\xa0\x80": [10]}',
    "cut UTF-8": b'{"data": [10], "\xe2\x82": 1}',
    "UTF-16": '{"data": [10]}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"data": [10]}',
    "NUL": b'{"data": [10]}\x00',
    "control character": b'{"da\x01ta": [10]}',
    "deep lists": b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"data": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "deep and cut": b"[" * 100_000,
}


@over_http
async def test_a_body_that_is_not_json_is_400(subtests: pytest.Subtests) -> None:
    async with serving() as server:
        for what, body in NOT_JSON.items():
            with subtests.test(what):
                assert_problem(await server.post(body), 400, "invalid-json")


BREAKS_THE_SCHEMA = {
    "no object": (b"[[10]]", ""),
    "a number": (b"10", ""),
    "null": (b"null", ""),
    "no data": (b"{}", ""),
    "unknown property": (b'{"data": [10], "more": 1}', ""),
    "other case": (b'{"Data": [10]}', ""),
    "string": (b'{"data": ["10"]}', "/data/0"),
    "boolean": (b'{"data": [true]}', "/data/0"),
    "null cell": (b'{"data": [null]}', "/data/0"),
    "object cell": (b'{"data": [{}]}', "/data/0"),
    "null data": (b'{"data": null}', "/data"),
    "object data": (b'{"data": {"x": [10]}}', "/data"),
    "scalar": (b'{"data": 10}', "/data"),
    "empty": (b'{"data": []}', "/data"),
    "empty example in a batch": (b'{"data": [[1], []]}', "/data/1"),
    "too many numbers": (b'{"data": [10, 20]}', "/data"),
    "too many in a batch": (b'{"data": [[10, 20]]}', "/data/0"),
    "string in a batch": (b'{"data": [[1], [2], ["3"]]}', "/data/2/0"),
    "string first in a batch": (b'{"data": [["1"], [2]]}', "/data/0/0"),
    "one example inside a batch": (b'{"data": [[1], 2]}', "/data/1"),
    "too deep": (b'{"data": [[[1]]]}', "/data/0/0"),
}


@over_http
async def test_json_that_violates_the_schema_is_422_with_pointers(
    subtests: pytest.Subtests,
) -> None:
    async with serving() as server:
        for what, (body, pointer) in BREAKS_THE_SCHEMA.items():
            with subtests.test(what):
                response = await server.post(body)
                document = assert_problem(response, 422, "invalid-data", "errors")
                assert pointer in [error["pointer"] for error in document["errors"]]
                assert all(set(error) == {"pointer", "detail"} for error in document["errors"])


@over_http
async def test_a_number_out_of_the_range_of_the_input_is_422(subtests: pytest.Subtests) -> None:
    cases = [("[{}]", "/data/0"), ("[[1], [{}]]", "/data/1/0")]
    numbers = ["1e39", "-1e39", "3.5e38", "1e308"]
    async with serving() as server:
        for (data, pointer), number in product(cases, numbers):
            with subtests.test(data=data, number=number):
                response = await server.post(f'{{"data": {data.format(number)}}}'.encode())
                document = assert_problem(response, 422, "invalid-data", "errors")
                assert [error["pointer"] for error in document["errors"]] == [pointer]


@over_http
async def test_a_number_that_no_float_can_hold_is_rejected() -> None:
    async with serving() as server:
        response = await server.post(b'{"data": [1e400]}')

    assert response.status in (400, 422)  # JSON has it, floats do not
    assert response.media_type == PROBLEM_JSON


@over_http
async def test_an_error_lists_at_most_eight_violations_of_160_characters() -> None:
    bodies = [
        json.dumps({"data": [[text]] * 300}).encode()
        for text in ("a", "b" * 1000, "é" * 500)  # small and large bodies
    ]
    bodies.append(json.dumps({"data": [1], **{"k" * 200 + str(n): 1 for n in range(9)}}).encode())
    async with serving() as server:
        for body in bodies:
            response = await server.post(body)
            document = assert_problem(response, 422, "invalid-data", "errors")
            assert 1 <= len(document["errors"]) <= 8
            for error in document["errors"]:
                assert 0 < len(error["detail"]) <= 160
                assert len(error["pointer"]) <= 160


@over_http
async def test_deeply_nested_json_is_422() -> None:
    async with serving() as server:
        for depth in (3, 100, 500):
            response = await server.post(b'{"data": ' + b"[" * depth + b"]" * depth + b"}")
            assert_problem(response, 422, "invalid-data", "errors")


MEDIA_TYPES = [
    None,
    "",
    "text/plain",
    "text/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/jsonp",
    "application/xml, application/json",
]


@over_http
async def test_another_media_type_is_415(subtests: pytest.Subtests) -> None:
    async with serving() as server:
        for media_type in MEDIA_TYPES:
            headers = {} if media_type is None else {"Content-Type": media_type}
            with subtests.test(media_type=media_type):
                response = await server.ask("POST", "/predict", headers, b'{"data":[10]}')
                assert_problem(response, 415, "unsupported-media-type")
                assert response["Accept-Post"] == "application/json, application/x-npy"


@over_http
async def test_an_unknown_content_coding_is_415(subtests: pytest.Subtests) -> None:
    async with serving() as server:
        for coding in ("br", "BR", "compress", "gzip, deflate", "gzip, identity"):
            with subtests.test(coding=coding):
                response = await server.post(b'{"data":[10]}', {"Content-Encoding": coding})
                assert_problem(response, 415, "unsupported-media-type")
                assert response["Accept-Post"] == "application/json, application/x-npy"
                assert response["Accept-Encoding"] == "gzip, deflate, zstd"


@over_http
async def test_a_form_is_not_parsed() -> None:
    form = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n"
    async with serving() as server:
        for media_type in ("multipart/form-data; boundary=x", "multipart/form-data"):
            response = await server.post(form, {"Content-Type": media_type})
            assert_problem(response, 415, "unsupported-media-type")
            response = await server.ask("POST", "/nowhere", {"Content-Type": media_type}, form)
            assert_problem(response, 404, "not-found")


# Refused: path and method

HEALTH = ["/v2/health/live", "/v2/health/ready"]
PAGES = ["/", "/docs", "/openapi.json", *HEALTH]
PAGES += ["/problems/invalid-json", "/static/pages.css"]


NOWHERE = ["/nothing", "/predict//", "/predict/x", "/v3", "/Predict", "//", "/static/"]
USUAL = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
UNUSUAL = ["TRACE", "PROPFIND", "FOO", "predict"]
METHODS = [*USUAL, *UNUSUAL]


@over_http
async def test_an_unknown_path_is_404_for_any_method(subtests: pytest.Subtests) -> None:
    async with serving() as server:
        for path, method in product(NOWHERE, USUAL):
            with subtests.test(path=path, method=method):
                assert_problem(await server.ask(method, path, body=b""), 404, "not-found")


@over_http
async def test_an_unknown_path_is_404_for_unknown_methods() -> None:
    async with serving() as server:
        for method in UNUSUAL:
            assert_problem(await server.ask(method, "/nothing"), 404, "not-found")


@over_http
async def test_head_of_an_unknown_path_is_404_without_a_body() -> None:
    async with serving() as server:
        client = await server.connect()
        for path in NOWHERE:
            assert (await client.ask("HEAD", path)).status == 404
        assert (await client.predict([10])).json == {"prediction": 31.0}  # nothing is left over


@over_http
async def test_another_method_on_predict_is_405_with_the_allowed_ones(
    subtests: pytest.Subtests,
) -> None:
    async with serving() as server:
        for method in set(METHODS) - {"POST", "OPTIONS"}:
            with subtests.test(method=method):
                response = await server.ask(method, "/predict")
                assert_problem(response, 405, "method-not-allowed")
                assert set(response["Allow"].split(", ")) == {"POST", "OPTIONS"}


@over_http
async def test_another_method_elsewhere_is_405_with_the_allowed_ones(
    subtests: pytest.Subtests,
) -> None:
    async with serving() as server:
        for path, method in product(PAGES, set(METHODS) - {"GET", "OPTIONS"}):
            with subtests.test(path=path, method=method):
                response = await server.ask(method, path, body=b"")
                if path in HEALTH:
                    assert_plain_error(response, 405)
                else:
                    assert_problem(response, 405, "method-not-allowed")
                assert set(response["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@over_http
async def test_head_on_predict_is_405_without_a_body() -> None:
    async with serving() as server:
        client = await server.connect()
        response = await client.ask("HEAD", "/predict")
        assert (response.status, set(response["Allow"].split(", "))) == (405, {"POST", "OPTIONS"})
        assert (await client.predict([10])).json == {"prediction": 31.0}  # nothing is left over


@over_http
async def test_options_is_204_with_the_allowed_methods(subtests: pytest.Subtests) -> None:
    async with serving() as server:
        for path in ("/predict", *PAGES):
            client = await server.connect()
            with subtests.test(path=path):
                response = await client.ask("OPTIONS", path)
                methods = {"POST"} if path == "/predict" else {"GET", "HEAD"}
                assert response.status == 204
                assert set(response["Allow"].split(", ")) == methods | {"OPTIONS"}
                assert "Content-Length" not in response  # RFC 9110, section 8.6
                assert_common_headers(response)
                assert (await client.predict([10])).status == 200  # nothing is left over


@over_http
async def test_head_is_get_without_the_body(subtests: pytest.Subtests) -> None:
    async with serving() as server:
        for path in PAGES:
            client = await server.connect()
            with subtests.test(path=path):
                head = await client.ask("HEAD", path)
                got = await client.ask("GET", path)
                assert (head.status, got.status) == (200, 200)
                assert lasting(head) == lasting(got)
                assert got.body


def lasting(response: Response) -> list[tuple[str, str]]:
    """Return the headers without those that differ between requests."""
    return [(n, v) for n, v in response.headers if n.lower() not in ("date", "x-request-id")]


WEIRD = [
    "/%ff",
    "/%FF%FE",
    "/problems/%ff",
    "/static/%ff",
    "/static/%00",
    "/static/..",
    "/static/..%2f..%2fconfig.yaml",
    "/static/../../config.yaml",
    "/static/.%2e/__init__.py",
    "/problems/" + "a" * 5000,
    "/problems/%3Cb%3E",
    "/" + "a" * 5000,
    "/%",
    "/%zz",
    "/predict%00",
    "/predict;a=1",
    "/../predict",
    "/?%ff=%ff&a=%zz",
    "/docs?a=%ff&a=%00",
    "*",
    "http://localhost/predict",
    "http://[/",
    "//[",
    "?",
    "/é",
    "/ü?ü",
    "/#x",
]


@over_http
async def test_a_weird_path_is_never_a_500(subtests: pytest.Subtests) -> None:
    headers = {"Content-Type": JSON, "Connection": "close"}
    async with serving() as server:
        for target, method in product(WEIRD, ["GET", "POST", "HEAD", "OPTIONS", "DELETE"]):
            client = await server.connect()
            await client.send(request_bytes(method, target, headers, b'{"data":[10]}'))
            answer = await client.rest()
            client.close()
            with subtests.test(target=target[:24], method=method):
                assert answer[9:12] in {b"200", b"204", b"400", b"404", b"405"}
                assert b"Traceback" not in answer
                assert b"/server/" not in answer


@over_http
async def test_a_path_that_is_not_utf8_is_400() -> None:
    async with serving() as server:
        for path in ("/problems/%ff", "/static/%ff"):
            assert_problem(await server.ask("GET", path), 400, "invalid-request")


@over_http
async def test_only_files_of_the_pages_are_sent() -> None:
    async with serving() as server:
        for name in ("..%2fapp.py", "..%2f..%2fconfig.yaml", "%2fetc%2fpasswd", ".", ".."):
            response = await server.ask("GET", f"/static/{name}")
            assert_problem(response, 404, "not-found")


# Life cycle


@over_http
async def test_while_the_model_loads_only_routes_that_need_it_are_503() -> None:
    hold, model = threading.Event(), FakeModel()

    def load(_: object) -> FakeModel:
        hold.wait(20)
        return model

    async with listening() as server:
        starting = asyncio.ensure_future(server.service.start(in_threads(load)))
        live = await server.ask("GET", "/v2/health/live")
        ready = await server.ask("GET", "/v2/health/ready")
        prediction = await server.predict([10])
        wrong = await server.post(b"{")
        document = await server.ask("GET", "/openapi.json")
        hold.set()
        await starting
        then_ready = await server.ask("GET", "/v2/health/ready")
        then = await server.predict([10])

    assert (live.status, live.json["live"]) == (200, True)
    for response in (prediction, wrong, document):
        assert_problem(response, 503, "loading")
        assert_retry_after(response)
    assert_plain_error(ready, 503)
    assert_retry_after(ready)
    assert (then_ready.status, then_ready.json["ready"]) == (200, True)
    assert (then.status, then.json) == (200, {"prediction": 31.0})


@over_http
async def test_health_is_json() -> None:
    async with serving() as server:
        live = await server.ask("GET", "/v2/health/live")
        ready = await server.ask("GET", "/v2/health/ready")

    for response in (live, ready):
        assert (response.status, response.media_type) == (200, JSON)
        assert_common_headers(response)


@over_http
async def test_during_the_grace_predictions_are_answered_and_connections_closed() -> None:
    async with serving() as server:
        client = await server.connect()
        assert "Connection" not in await client.predict([10])
        server.http.close_after_answers()
        server.service.stop_being_ready()
        ready = await server.ask("GET", "/v2/health/ready")
        live = await server.ask("GET", "/v2/health/live")
        response = await client.predict([20])
        assert await client.rest() == b""

    assert "shutting down" in assert_plain_error(ready, 503)
    assert_retry_after(ready)
    assert live.status == 200
    assert (response.status, response.json) == (200, {"prediction": 61.0})
    assert response["Connection"].lower() == "close"


@over_http
async def test_after_the_grace_new_predictions_are_rejected_and_accepted_ones_answered() -> None:
    model = FakeModel()
    async with serving(model) as server:
        early, late = await server.connect(), await server.connect()
        model.hold()
        answer = asyncio.ensure_future(early.predict([10]))
        await model.called()
        server.http.close_after_answers()
        server.service.stop_being_ready()
        draining = asyncio.ensure_future(server.service.drain())
        await asyncio.sleep(0)
        refused = await late.predict([20])
        assert not answer.done()
        model.release()
        await draining
        accepted = await answer

    assert_problem(refused, 503, "draining")
    assert_retry_after(refused)
    assert refused["Connection"].lower() == accepted["Connection"].lower() == "close"
    assert (accepted.status, accepted.json) == (200, {"prediction": 31.0})


# What is written down


@over_http
async def test_every_request_has_one_line_in_the_access_log() -> None:
    async with serving() as server:
        await server.predict([10], {"X-Request-ID": "one"})
        await server.predict("?", {"X-Request-ID": "two"})
        await server.ask("GET", "/nothing?secret=1", {"X-Request-ID": "three"})
        await server.ask("PUT", "/predict", {"X-Request-ID": "four"})
        lines = [
            await server.logs.access("POST", "/predict", "200", "one"),
            await server.logs.access("POST", "/predict", "422", "two"),
            await server.logs.access("GET", "/nothing", "404", "three"),
            await server.logs.access("PUT", "/predict", "405", "four"),
        ]

    assert server.logs.accesses == lines
    assert "secret" not in "".join(lines)


@over_http
async def test_the_access_log_can_be_off() -> None:
    async with serving(settings=with_settings(logging={"access": False})) as server:
        await server.predict([10])
        await server.ask("GET", "/nothing")

    assert server.logs.accesses == []


@pytest.mark.logs_warnings
@over_http
async def test_input_and_prediction_of_answered_requests_are_logged(tmp_path: Path) -> None:
    file = tmp_path / "payloads.jsonl"
    log = PayloadLog(str(file))
    model = FakeModel()
    model.poison = {13.0}
    expected = ["the model failed"]
    async with serving(model, payload_log=log, expected_logs=expected) as server:
        await server.predict([10], {"X-Request-ID": "one"})
        await server.post(b'{"data":\r\n [[10],\n\t[20.5]]}', {"X-Request-ID": "two"})
        await server.post(b'{"data": [', {"X-Request-ID": "not-json"})
        await server.predict(["a"], {"X-Request-ID": "invalid"})
        await server.predict([13], {"X-Request-ID": "failed"})
        await server.ask("GET", "/")
    log.close(5)

    one, two = map(json.loads, file.read_text().splitlines())
    assert set(one) == {"time", "request_id", "model", "version", "input", "prediction", "ms"}
    assert (one["request_id"], one["input"], one["prediction"]) == ("one", [10], 31.0)
    assert (one["model"], one["version"]) == ("my_best_model", "1")
    assert one["ms"] > 0
    assert (two["request_id"], two["prediction"]) == ("two", [31.0, 62.5])
    assert two["input"] == [[10], [20.5]]
