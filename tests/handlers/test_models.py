"""Several models on one server: paths, versions, keys, repository."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from model.signature import Signature, TensorSpec
from server.config import ApiKey, ModelSource
from server.dialects.v2.documents import of_config
from tests.support.files import put, serving_files
from tests.support.harness import JSON, Response, Server, over_http, with_settings

SEVERAL = with_settings(model={"max_versions": 3})
KEYS = replace(SEVERAL, auth=with_settings(auth={"api_keys": (ApiKey.of("secret"),)}).auth)
WITH_KEY = {"Authorization": "Bearer secret"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a model."""
    path = tmp_path / "line.keras"
    path.write_text("10")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with versions 1 and 2."""
    path = tmp_path / "more lines"
    path.mkdir()
    (path / "1.keras").write_text("100")
    (path / "2.keras").write_text("200")
    return path


async def predict(
    server: Server, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """Predict for 1; return version and value, or the status and the problem."""
    given = {"Content-Type": JSON} | dict(headers or {})
    response = await server.ask("POST", path, given, b'{"data":[1]}')
    if response.status == 200:
        return response["X-Model-Version"], response.json["prediction"]
    return response.status, response.json["type"].rpartition("/")[2]


async def call(
    server: Server,
    path: str,
    document: Any = None,
    headers: Mapping[str, str] | None = WITH_KEY,
) -> Response:
    """Send a request to the repository."""
    body = b"" if document is None else json.dumps(document).encode()
    return await server.ask("POST", f"/v2/repository/{path}", headers, body)


# Paths


@over_http
async def test_each_model_and_version_has_a_path(file: Path, folder: Path) -> None:
    async with serving_files(file, folder, settings=SEVERAL) as (server, _):
        assert await predict(server, "/predict") == ("1", 10)
        assert await predict(server, "/models/line/predict") == ("1", 10)
        assert await predict(server, "/models/line/versions/1/predict") == ("1", 10)
        assert await predict(server, "/models/more%20lines/predict") == ("2", 200)
        assert await predict(server, "/models/%6dore%20lines/predict?a=b") == ("2", 200)
        assert await predict(server, "/models/more%20lines/versions/1/predict") == ("1", 100)
        assert await predict(server, "/models/more%20lines/versions/%32/predict") == ("2", 200)


@over_http
@pytest.mark.parametrize("name", ["ü/ö", "a:b", "a?b", "%2F", "a b+c", "models"])
async def test_a_name_can_be_anything(name: str, file: Path) -> None:
    source = ModelSource(path=str(file), name=name)
    async with serving_files(source) as (server, _):
        assert await predict(server, f"/models/{quote(name, safe='')}/predict") == ("1", 10)


@over_http
async def test_an_unknown_model_or_version_is_named_in_the_error(file: Path) -> None:
    async with serving_files(file) as (server, _):
        for path, words in {
            "/models/nobody/predict": "There is no model nobody.",
            "/models/line/versions/7/predict": "The model line has no version 7.",
            "/models/%C3%BC/predict": "There is no model ü.",
        }.items():
            response = await server.ask("POST", path, {"Content-Type": JSON}, b'{"data":[1]}')
            assert (response.status, response.json["detail"]) == (404, words)
        broken = await server.ask("POST", "/models/%ff/predict", {"Content-Type": JSON}, b"{}")
        metrics = (await server.ask("GET", "/metrics")).body.decode()

    assert broken.status == 400
    assert 'predict_requests_total{dialect="native",model="",status="404"} 2.0' in metrics
    assert 'predict_requests_total{dialect="native",model="line",status="404"} 1.0' in metrics


@over_http
async def test_model_paths_reject_other_methods_and_large_bodies(file: Path) -> None:
    settings = with_settings(http={"max_body_bytes": 100})
    async with serving_files(file, settings=settings) as (server, _):
        for path in ("/models/line/predict", "/models/line/versions/1/predict"):
            response = await server.ask("GET", path)
            assert (response.status, response["Allow"]) == (405, "POST, OPTIONS")
            large = await server.ask("POST", path, {"Content-Type": JSON}, b" " * 101)
            assert (large.status, large.json["type"]) == (413, "/problems/body-too-large")
        metrics = (await server.ask("GET", "/metrics")).body.decode()

    assert 'predict_requests_total{dialect="native",model="line",status="413"} 2.0' in metrics


@over_http
async def test_readiness_names_every_model(file: Path, folder: Path) -> None:
    async with serving_files(file, folder, settings=SEVERAL) as (server, _):
        ready = (await server.ask("GET", "/v2/health/ready")).json

    assert ready["ready"] is True
    assert ready["models"] == [
        {"name": "line", "version": "1", "state": "READY"},
        {"name": "more lines", "version": "2", "state": "READY"},
    ]


@over_http
async def test_the_document_has_the_schemas_of_all_models(file: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.keras"
    wide.write_text("wide")
    async with serving_files(file, wide) as (server, _):
        document = (await server.ask("GET", "/openapi.json")).json
        schemas = [model.dialect.schema for model in server.service.models]

    components = document["components"]["schemas"]
    assert components["PredictRequest"] == schemas[0]
    named = components["NamedPredictRequest"]
    assert named == {"anyOf": [{"$ref": "#/components/schemas/PredictRequest"}, schemas[1]]}


@over_http
async def test_metrics_name_every_version(file: Path, folder: Path) -> None:
    async with serving_files(file, folder, settings=SEVERAL) as (server, _):
        metrics = (await server.ask("GET", "/metrics")).body.decode()

    for model, version in (("line", "1"), ("more lines", "1"), ("more lines", "2")):
        labels = f'engine="tensorflow",max_rows="64",model="{model}",version="{version}"'
        assert f"predict_model_info{{{labels}}} 1.0" in metrics


@over_http
async def test_v2_describes_every_model_and_version(file: Path, folder: Path) -> None:
    async with serving_files(file, folder, settings=SEVERAL) as (server, _):
        about = (await server.ask("GET", "/v2")).json
        model = (await server.ask("GET", "/v2/models/more%20lines")).json
        for path in ("line", "more%20lines", "more%20lines/versions/1"):
            ready = await server.ask("GET", f"/v2/models/{path}/ready")
            assert (ready.status, ready.json["ready"]) == (200, True)
        for path in ("nobody", "nobody/ready", "line/versions/7", "line/versions/7/ready"):
            assert (await server.ask("GET", f"/v2/models/{path}")).status == 404

    assert about["name"] == "keras-batch-server"
    assert model == {
        "name": "more lines",
        "versions": ["1", "2"],
        "platform": "keras",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
        "parameters": {"engine": "tensorflow"},
    }


@pytest.mark.logs_warnings
@over_http
async def test_v2_statistics_count_the_requests_of_a_version(file: Path, folder: Path) -> None:
    async with serving_files(folder, file, settings=SEVERAL, logs=["the model failed"]) as (
        server,
        files,
    ):
        await predict(server, "/predict")
        for body in (b'{"data":[[1],[2],[3]]}', b'{"data":[[4],[5],[6]]}'):
            await server.post(body)
        for model in files.models:
            model.poison = {13.0}
        await server.post(b'{"data":[13]}')
        answers = [
            (await server.ask("GET", f"/v2/models/more%20lines{version}/stats")).json
            for version in ("", "/versions/2", "/versions/1")
        ]
        everything = (await server.ask("GET", "/v2/models/stats")).json["model_stats"]

    assert answers[0] == answers[1]
    [two], [one] = answers[0]["model_stats"], answers[2]["model_stats"]
    assert len(everything) == len({(stats["name"], stats["version"]) for stats in everything}) == 3
    assert two in everything
    assert one in everything
    assert (two["name"], two["version"]) == ("more lines", "2")
    assert (two["inference_count"], two["execution_count"]) == (8, 4)
    assert two["inference_stats"]["success"]["count"] == 3
    assert two["inference_stats"]["success"]["ns"] > 0
    assert two["inference_stats"]["fail"]["count"] == 1
    sizes = {batch["batch_size"]: batch["compute_infer"]["count"] for batch in two["batch_stats"]}
    assert sizes == {1: 2, 3: 2}
    assert two["last_inference"] > 1.6e12
    assert (one["inference_count"], one["last_inference"]) == (0, 0)


# Keys


@over_http
async def test_with_keys_predictions_require_one(file: Path) -> None:
    async with serving_files(file, settings=KEYS) as (server, _):
        assert await predict(server, "/predict", WITH_KEY) == ("1", 10)
        assert await predict(server, "/predict", {"X-API-Key": "secret"}) == ("1", 10)
        for headers in ({}, {"X-API-Key": "Secret"}, {"Authorization": "Basic secret"}):
            for path in ("/predict", "/models/line/predict", "/models/nobody/predict"):
                response = await server.ask(
                    "POST", path, {"Content-Type": JSON} | headers, b'{"data":[1]}'
                )
                assert response.status == 401
                assert response["WWW-Authenticate"] == 'Bearer realm="predictions"'
        for path in ("/v2/health/live", "/v2/health/ready", "/metrics", "/openapi.json", "/"):
            assert (await server.ask("GET", path)).status == 200


@over_http
async def test_without_keys_the_repository_cannot_be_changed(file: Path) -> None:
    async with serving_files(file) as (server, _):
        for path in ("models/line/load", "models/line/unload", "models/nobody/load"):
            response = await call(server, path)
            assert response.status == 403
        assert (await call(server, "index")).status == 200
        assert await predict(server, "/predict") == ("1", 10)


@over_http
async def test_a_wrong_key_changes_nothing(file: Path) -> None:
    async with serving_files(file, settings=KEYS) as (server, _):
        for path in ("index", "models/line/load", "models/line/unload"):
            for headers in ({}, {"X-API-Key": "wrong"}):
                assert (await call(server, path, headers=headers)).status == 401
        assert await predict(server, "/predict", WITH_KEY) == ("1", 10)


# The repository


@over_http
async def test_the_index_has_an_entry_for_every_version(file: Path, folder: Path) -> None:
    async with serving_files(file, folder, settings=KEYS) as (server, _):
        await call(server, "models/line/unload")
        index = (await call(server, "index")).json
        ready = (await call(server, "index", {"ready": True})).json
        same = (await server.ask("GET", "/v2/repository/index", WITH_KEY)).json
        any_state = (await call(server, "index", {"ready": None})).json
        assert (await server.ask("GET", "/v2/repository/index")).status == 401
        status = (await server.ask("GET", "/v1/models/line")).json
        names = (await server.ask("GET", "/v2/models")).json
        assert (await call(server, "index", {"ready": "yes"})).status == 400

    assert same == any_state == index
    assert (status["name"], status["ready"]) == ("line", False)
    assert names == {"models": ["line", "more lines"]}
    lines = [(line["name"], line["version"], line["state"], line["reason"]) for line in index]
    assert sorted(lines) == [
        ("line", "1", "UNAVAILABLE", "unloaded"),
        ("more lines", "1", "READY", ""),
        ("more lines", "2", "READY", ""),
    ]
    assert [line["name"] for line in ready] == ["more lines", "more lines"]


@over_http
async def test_the_highest_version_comes_first_in_any_order_of_loading(folder: Path) -> None:
    async with serving_files(folder, settings=KEYS) as (server, _):
        (folder / "10.keras").write_text("1000")
        await call(server, "models/more%20lines/load")
        index = (await call(server, "index")).json
        status = (await server.ask("GET", "/v1/models/more%20lines")).json

    assert [line["version"] for line in index] == ["10", "2", "1"]
    versions = [line["version"] for line in status["model_version_status"]]
    assert versions == ["10", "2", "1"]


@over_http
async def test_tensorflow_serving_status_of_an_unloaded_model_has_no_error(file: Path) -> None:
    """Only a model that could not be loaded has an error."""
    async with serving_files(file, settings=KEYS) as (server, _):
        told = []
        for text, path in (("10", "unload"), ("broken", "load")):
            file.write_text(text)
            await call(server, f"models/line/{path}")
            status = (await server.ask("GET", "/v1/models/line")).json
            told += [(line["state"], line["status"]) for line in status["model_version_status"]]

    (state, well), (state_then, failed) = told
    assert state == state_then == "END"
    assert well == {"error_code": "OK", "error_message": ""}
    assert (failed["error_code"], failed["error_message"]) == ("UNKNOWN", f"{file}: is broken")


@over_http
async def test_a_model_is_loaded_rolled_back_and_unloaded(file: Path) -> None:
    async with serving_files(file, settings=KEYS) as (server, _):
        put(file, "20")
        steps = [
            ("models/line/load", None),
            ("models/line/load", {"parameters": {"rollback": True}}),
            ("models/line/load", {"parameters": {"rollback": False}}),
            ("models/line/unload", {"parameters": {"unload_dependents": False}}),
            ("models/line/load", {"parameters": None}),
        ]
        seen = []
        for path, document in steps:
            assert (await call(server, path, document)).status == 200
            seen.append(await predict(server, "/predict", WITH_KEY))

    assert seen == [("2", 20), ("1", 10), ("3", 20), (404, "unknown-model"), ("4", 20)]


@pytest.mark.logs_warnings
@over_http
async def test_a_failed_load_reports_the_reason(file: Path) -> None:
    logs = ["version 1 stays"]
    async with serving_files(file, settings=KEYS, logs=logs) as (server, _):
        unknown = await call(server, "models/nobody/load")
        no_rollback = await call(server, "models/line/load", {"parameters": {"rollback": True}})
        file.write_text("broken")
        failed = await call(server, "models/line/load")
        assert await predict(server, "/predict", WITH_KEY) == ("1", 10)

    assert unknown.status == 404
    assert no_rollback.status == failed.status == 400
    assert "No version of line was served before this one." in no_rollback.body.decode()
    assert f"{file}: is broken" in failed.body.decode()


@over_http
async def test_an_invalid_repository_request_changes_nothing(file: Path) -> None:
    async with serving_files(file, settings=KEYS) as (server, _):
        for document in (
            [],
            {"parameters": []},
            {"parameters": {"rollback": "yes"}},
            {"parameters": {"config": "{}"}},
        ):
            assert (await call(server, "models/line/load", document)).status == 400
        not_json = await server.ask("POST", "/v2/repository/models/line/unload", WITH_KEY, b"{")
        assert not_json.status == 400
        assert await predict(server, "/predict", WITH_KEY) == ("1", 10)


@over_http
async def test_the_configuration_is_written_as_triton_does(folder: Path) -> None:
    async with serving_files(folder, settings=SEVERAL) as (server, _):
        name = quote(folder.name)
        config = (await server.ask("GET", f"/v2/models/{name}/config")).json
        of_version = await server.ask("GET", f"/v2/models/{name}/versions/1/config")
        unknown = await server.ask("GET", f"/v2/models/{name}/versions/9/config")

    assert (config["name"], config["max_batch_size"]) == (folder.name, 64)
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}]
    assert config["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}]
    assert config["version_policy"] == {"latest": {"num_versions": 3}}
    assert [group["count"] for group in config["instance_group"]] == [1]
    assert of_version.json == config
    assert (unknown.status, list(unknown.json)) == (404, ["error"])


def test_dimensions_of_a_configuration() -> None:
    tensors = (
        TensorSpec("scalar", (), "int64"),
        TensorSpec("text", (None, 3), "string"),
        TensorSpec("half", (2,), "bfloat16"),
    )
    config = of_config("m", Signature(tensors, ()), max_rows=1, versions=1, processes=1)

    assert config["input"] == [
        {"name": "scalar", "data_type": "TYPE_INT64", "dims": [1], "reshape": {"shape": []}},
        {"name": "text", "data_type": "TYPE_STRING", "dims": [-1, 3]},
        {"name": "half", "data_type": "TYPE_BF16", "dims": [2]},
    ]


@over_http
async def test_paths_of_tritons_client_are_answered_in_the_form_of_v2(file: Path) -> None:
    paths = [
        *("/v2/trace/setting", "/v2/models/line/trace/setting", "/v2/logging"),
        *("/v2/systemsharedmemory/status", "/v2/cudasharedmemory/region/a/status"),
    ]
    async with serving_files(file) as (server, _):
        for path in paths:
            for method in ("GET", "POST"):
                response = await server.ask(method, path, body=b"{}" if method == "POST" else None)
                assert (response.status, list(response.json)) == (404, ["error"])
                assert ": s" in response.json["error"]  # send … or set …, in place of it


@over_http
async def test_metrics_are_at_the_path_of_tensorflow_serving(file: Path) -> None:
    async with serving_files(file) as (server, _):
        metrics = await server.ask("GET", "/monitoring/prometheus/metrics")

    assert metrics.status == 200
    assert b"predict_requests_total" in metrics.body
