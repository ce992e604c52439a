"""A start at which not everything can be loaded: what can be is served, and the rest is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from server.config import ModelSource
from server.errors import LoadFailed
from tests.support.fake_process import in_threads
from tests.support.files import Files, answer, put, serving_files
from tests.support.harness import Server, listening, over_http, with_settings

pytestmark = pytest.mark.logs_warnings
STRICT = replace(with_settings(), models_strict=True)


async def described(server: Server) -> dict[str, dict[str, str]]:
    """Return what readiness, which must be 200, says of each model."""
    ready = await server.ask("GET", "/v2/health/ready")
    assert ready.status == 200, ready.body
    return {model["name"]: model for model in ready.json["models"]}


async def failed_start(*paths: Path, settings=None) -> str:
    """Return why the service cannot start."""
    sources = tuple(ModelSource(path=str(path)) for path in paths)
    settings = replace(settings or with_settings(), models=sources)
    async with listening(settings) as server:
        server.expected_logs += ["not served"] if len(paths) > 1 and settings != STRICT else []
        with pytest.raises(LoadFailed) as caught:
            await server.service.start(in_threads(Files()))
        server.logs.records.clear()
        server.expected_logs.clear()
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with versions 8 and 9, and 10, which is broken."""
    path = tmp_path / "lines"
    path.mkdir()
    (path / "8.keras").write_text("80")
    (path / "9.keras").write_text("90")
    (path / "10.keras").write_text("broken")
    return path


@over_http
async def test_a_broken_newest_version_leaves_the_one_before_serving(folder: Path) -> None:
    async with serving_files(folder, logs=["version 9 is served, because version 10"]) as (
        server,
        _,
    ):
        before = await answer(server)
        told = (await described(server))["lines"]
        put(folder / "10.keras", "100")
        await server.service.repository.reload()
        after = await answer(server)
        repaired = (await described(server))["lines"]

    assert before == ("9", 90)
    assert (told["version"], told["state"]) == ("9", "READY")
    assert told["failure"] == f"{folder}/10.keras: is broken"
    assert after == ("10", 100)
    assert "failure" not in repaired


@over_http
async def test_a_version_that_is_half_copied_is_found_in_any_form(folder: Path) -> None:
    """An empty folder, and one with two models in it, for example an old and a new one."""
    (folder / "11").mkdir()
    (folder / "12").mkdir()
    for name in ("a.keras", "b.keras"):
        (folder / "12" / name).write_text("120")
    logs = ["version 11 is left out", "version 10 is left out", "because version 12 cannot"]
    async with serving_files(folder, logs=logs) as (server, _):
        assert await answer(server) == ("9", 90)
        assert "has 2 models" in (await described(server))["lines"]["failure"]


@over_http
async def test_versions_before_it_are_loaded_as_well_if_they_are_wanted(folder: Path) -> None:
    settings = with_settings(model={"max_versions": 2})
    async with serving_files(folder, settings=settings, logs=["version 9 is served"]) as (
        server,
        _,
    ):
        assert sorted(server.service.repository.slots["lines"].versions) == ["8", "9"]


@over_http
async def test_a_service_without_any_version_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "1.keras").write_text("broken")

    assert "1.keras: is broken" in await failed_start(tmp_path)


@over_http
async def test_one_broken_model_of_two_leaves_the_other_serving(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.keras", tmp_path / "bad.keras"
    good.write_text("10")
    bad.write_text("broken")
    async with serving_files(good, bad, logs=["bad: not served", "bad: not served"]) as (
        server,
        _,
    ):
        other = await answer(server)
        told = await described(server)
        asked = await server.ask("POST", "/models/bad/predict", body=b"{}")
        v2 = await server.ask("GET", "/v2/models/bad/ready")
        await server.service.repository.reload()
        bad.write_text("20")
        await server.service.repository.reload()
        repaired = await described(server)

    assert other == ("1", 10)
    assert told["good"] == {"name": "good", "version": "1", "state": "READY"}
    assert (told["bad"]["state"], told["bad"]["version"]) == ("UNAVAILABLE", "")
    assert told["bad"]["failure"] == f"{bad}: is broken"
    assert (asked.status, v2.status) == (503, 503)
    assert "The model bad could not be loaded" in asked.json["detail"]
    assert str(tmp_path) not in asked.json["detail"]
    assert repaired["bad"] == {"name": "bad", "version": "1", "state": "READY"}


@over_http
async def test_a_broken_default_model_leaves_the_others_serving(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.keras", tmp_path / "bad.keras"
    good.write_text("10")
    bad.write_text("broken")
    async with serving_files(bad, good, logs=["bad: not served"]) as (server, _):
        default = await server.predict([1])
        other = await server.ask(
            "POST",
            "/models/good/predict",
            {"Content-Type": "application/json"},
            b'{"data": [1]}',
        )
        told = await described(server)
        condition = server.service.condition
        server.exchanges.clear()  # the document of the API is that of the default model

    assert default.status == 503
    assert (other.status, other.json) == (200, {"prediction": 10})
    assert "failure" in told["bad"]
    assert condition.startswith("not ready: The model bad could not be loaded")


@over_http
async def test_without_any_model_the_service_does_not_start(tmp_path: Path) -> None:
    for name in ("a.keras", "b.keras"):
        (tmp_path / name).write_text("broken")

    said = await failed_start(tmp_path / "a.keras", tmp_path / "b.keras")

    assert said == "none of the 2 models can be loaded"


@over_http
async def test_strict_settings_accept_no_broken_model(tmp_path: Path) -> None:
    (tmp_path / "a.keras").write_text("10")
    (tmp_path / "b.keras").write_text("broken")

    said = await failed_start(tmp_path / "a.keras", tmp_path / "b.keras", settings=STRICT)

    assert said == f"{tmp_path}/b.keras: is broken"


@over_http
async def test_strict_settings_accept_no_broken_newest_version(folder: Path) -> None:
    assert await failed_start(folder, settings=STRICT) == f"{folder}/10.keras: is broken"
