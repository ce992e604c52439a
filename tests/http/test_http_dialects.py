"""The dialects over HTTP on both transports: paths, headers, errors."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from tests.support.harness import FakeModel, Server, over_http, serving, with_settings

LINE = with_settings(model={"name": "line"})
V1, V2 = "/v1/models/line", "/v2/models/line"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}  # as curl says it of itself


def infer(**fields: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [1, 2]}
    return json.dumps({"inputs": [tensor], **fields}).encode()


@over_http
async def test_requests_of_all_dialects_get_the_same_answers() -> None:
    async with serving(settings=LINE) as server:
        native = (await server.predict([[1], [2]])).json["prediction"]
        rows = await server.ask("POST", f"{V1}:predict", FORM, b'{"instances": [[1], [2]]}')
        columns = await server.ask("POST", f"{V1}/versions/1:predict", {}, b'{"inputs": [[1],[2]]}')
        tensors = await server.ask("POST", f"{V2}/infer", {}, infer(id="7"))
        of_version = await server.ask("POST", f"{V2}/versions/1/infer", {}, infer())

    assert rows.json == {"predictions": [[y] for y in native]}
    assert columns.json == {"outputs": [[y] for y in native]}
    assert tensors.json["id"] == "7"
    for answer in (tensors.json, of_version.json):
        assert (answer["model_name"], answer["model_version"]) == ("line", "1")
        assert answer["outputs"][0]["data"] == native
    for response in (rows, columns, tensors, of_version):
        assert response["X-Model-Version"] == "1"
        assert response.media_type == "application/json"


@over_http
async def test_requests_of_different_dialects_share_a_batch() -> None:
    model = FakeModel()
    async with serving(model, LINE) as server:
        model.hold()
        clients = [await server.connect() for _ in range(3)]
        first = await server.connect()
        await first.send(_request("/predict", b'{"data": [1]}', "application/json"))
        await model.called()
        asked = [
            ("/predict", b'{"data": [2]}'),
            (f"{V1}:predict", b'{"instances": [[3]]}'),
            (f"{V2}/infer", infer()),
        ]
        for client, (path, body) in zip(clients, asked, strict=True):
            await client.send(_request(path, body, "application/json"))
        await server.waiting(4)
        model.release()
        assert (await first.receive()).status == 200
        for client, (path, _) in zip(clients, asked, strict=True):
            assert (await client.receive(path=path)).status == 200

    assert model.batches == [[1], [2, 3, 1, 2]]


def _request(path: str, body: bytes, media_type: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {media_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@over_http
async def test_binary_tensors_in_requests_and_responses() -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 1]}
    document = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": 8}}],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    async with serving(settings=LINE) as server:
        expected = (await server.predict([[1], [2]])).json["prediction"]
        body = head + np.float32([1, 2]).tobytes()
        response = await server.ask("POST", f"{V2}/infer", headers, body)

    assert response.media_type == "application/octet-stream"
    length = int(response["Inference-Header-Content-Length"])
    assert json.loads(response.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(response.body[length:], "<f4").tolist() == expected


@over_http
async def test_npy_arrays_in_requests_and_responses() -> None:
    file = io.BytesIO()
    np.save(file, np.float32([[1], [2]]))
    headers = {"Content-Type": "application/x-npy"}
    async with serving(settings=LINE) as server:
        expected = (await server.predict([[1], [2]])).json["prediction"]
        response = await server.ask("POST", "/predict", headers, file.getvalue())
        refused = await server.ask("POST", "/predict", headers, b"no array")

    assert response.media_type == "application/x-npy"
    assert np.load(io.BytesIO(response.body)).ravel().tolist() == expected
    assert refused.status == 400
    assert refused.media_type == "application/problem+json"


@over_http
@pytest.mark.parametrize(
    "method, path, body, status",
    [
        ("POST", f"{V1}:predict", b"{", 400),
        ("POST", f"{V1}:predict", b'{"instances": [["1"]]}', 400),
        ("POST", "/v1/models/half:predict", b'{"instances": [1.0]}', 404),
        ("POST", f"{V1}/versions/9:predict", b'{"instances": [[1]]}', 404),
        ("GET", f"{V1}:predict", None, 405),
        ("GET", "/v1/models/half", None, 404),
        ("GET", "/v1/nothing", None, 404),
        ("GET", "/v1", None, 404),
        ("DELETE", "/v1/models", None, 405),
        ("POST", f"{V2}/infer", b'{"inputs": []}', 400),
        ("POST", "/v2/models/half/infer", infer(), 404),
        ("GET", f"{V2}/infer", None, 405),
        ("GET", "/v2/models/half", None, 404),
        ("GET", "/v2/models/half/stats", None, 404),
        ("GET", "/v2/nothing", None, 404),
        ("GET", "/v2/health", None, 404),
        ("POST", "/v2/health/live", b"", 405),
        ("POST", "/v2", b"", 405),
        ("PUT", "/v2/models", b"", 405),
        ("PUT", "/v2/repository/index", b"", 405),
    ],
)
async def test_errors_have_the_format_of_their_protocol(
    method: str, path: str, body: bytes | None, status: int
) -> None:
    async with serving(settings=LINE) as server:
        response = await server.ask(method, path, {}, body)

    assert response.status == status
    assert response.media_type == "application/json"
    assert list(response.json) == ["error"]
    assert "X-Request-ID" in response


@over_http
@pytest.mark.parametrize("path", ["/v10/models", "/v2x", "/"])
async def test_errors_elsewhere_are_problem_documents(path: str) -> None:
    async with serving(settings=LINE) as server:
        response = await server.ask("DELETE", path)

    assert response.media_type == "application/problem+json"


@over_http
async def test_null_is_the_same_as_an_absent_field(subtests: pytest.Subtests) -> None:
    """Clients with data classes write every field."""
    nothing = {"id": None, "parameters": None, "outputs": None}
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [10]}
    with_null = {"inputs": [tensor | {"parameters": None}], **nothing}
    named = with_null | {"outputs": [{"name": "y", "parameters": None}]}
    async with serving(settings=LINE) as server:
        for document in (with_null, named):
            with subtests.test(document=document):
                answer = await server.ask("POST", f"{V2}/infer", {}, json.dumps(document).encode())
                assert answer.status == 200, answer.json
                assert "id" not in answer.json
                assert answer.json["outputs"][0]["data"] == [31.0]
        body = b'{"signature_name": null, "instances": [[10]]}'
        rows = await server.ask("POST", f"{V1}:predict", {}, body)

    assert rows.json == {"predictions": [[31.0]]}


@over_http
async def test_models_are_listed_as_kserve_does() -> None:
    async with serving(settings=LINE) as server:
        v1, v2 = [await _get(server, path) for path in ("/v1/models", "/v2/models")]
        status = await _get(server, V1)

    assert v1 == v2 == {"models": ["line"]}
    assert (status["name"], status["ready"]) == ("line", True)


async def _get(server: Server, path: str) -> Any:
    response = await server.ask("GET", path)
    assert response.status == 200
    return response.json


@over_http
async def test_status_and_metadata_have_the_format_of_tensorflow_serving() -> None:
    async with serving(settings=LINE) as server:
        status, of_version, metadata = [
            await _get(server, V1 + ending) for ending in ("", "/versions/1", "/metadata")
        ]

    [line] = status["model_version_status"]
    assert (line["version"], line["state"]) == ("1", "AVAILABLE")
    assert line["status"] == {"error_code": "OK", "error_message": ""}
    assert of_version == {"model_version_status": [line]}
    assert metadata["model_spec"] == {"name": "line", "signature_name": "", "version": "1"}
    [definition] = metadata["metadata"]["signature_def"]["signature_def"].values()
    assert definition["inputs"]["x"]["dtype"] == "DT_FLOAT"
