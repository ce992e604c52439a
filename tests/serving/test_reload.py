"""One version of a model takes the place of another while clients ask."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from server.batching import Draining
from server.errors import LoadFailed, UnknownModel
from tests.support.files import answer, put, serving_files
from tests.support.harness import SOON, Server, over_http, with_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model's file."""
    path = tmp_path / "line.keras"
    path.write_text("10")
    return path


# A single file


@over_http
async def test_a_file_is_version_1_and_one_more_at_each_reload(file: Path) -> None:
    async with serving_files(file) as (server, _):
        answers = [await answer(server)]
        for factor in ("20", "30"):
            file.write_text(factor)
            await server.service.repository.load("line")
            answers.append(await answer(server))

    assert answers == [("1", 10), ("2", 20), ("3", 30)]


@over_http
async def test_a_reload_loads_every_model_anew(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "other.keras"
    other.write_text("5")
    async with serving_files(file, other) as (server, _):
        await server.service.repository.reload()
        versions = [model.version for model in server.service.models]

    assert versions == ["2", "2"]
    assert server.service.counts.reloads == {"loaded": 2, "rolled_back": 0, "failed": 0}


@over_http
async def test_reloads_that_come_together_are_one(file: Path) -> None:
    async with serving_files(file) as (server, files):
        files.hold()
        reloads = [asyncio.ensure_future(server.service.repository.reload()) for _ in range(9)]
        await asyncio.to_thread(files.loading.wait, SOON)
        reloads.append(asyncio.ensure_future(server.service.repository.reload()))
        await asyncio.sleep(0)
        files.release()
        await asyncio.gather(*reloads)
        version, _ = await answer(server)

    assert version == "3"  # the first, and the one that came when it had begun


@over_http
async def test_the_old_version_answers_while_the_new_one_is_loaded(file: Path) -> None:
    async with serving_files(file) as (server, files):
        files.hold()
        file.write_text("20")
        reload = asyncio.ensure_future(server.service.repository.reload())
        await asyncio.to_thread(files.loading.wait, SOON)
        before = await answer(server)
        files.release()
        await reload
        after = await answer(server)

    assert (before, after) == (("1", 10), ("2", 20))


@over_http
async def test_what_was_accepted_is_answered_by_the_version_that_accepted_it(file: Path) -> None:
    async with serving_files(file) as (server, files):
        [old] = files.models
        old.batches.clear()
        old.hold()
        clients = [await server.connect() for _ in range(3)]
        early = [asyncio.ensure_future(clients[0].predict([1]))]
        await old.called()
        early += [asyncio.ensure_future(client.predict([1])) for client in clients[1:]]
        await server.waiting(2)
        file.write_text("20")
        await server.service.repository.reload()
        late = await answer(server)
        old.release()
        answers = [
            (r["X-Model-Version"], r.json["prediction"]) for r in await asyncio.gather(*early)
        ]

    assert late == ("2", 20)
    assert answers == [("1", 10)] * 3


@over_http
async def test_no_request_is_lost_and_none_gets_another_versions_answer(file: Path) -> None:
    """Eight clients ask without a pause while the model is replaced twenty times."""
    over = asyncio.Event()
    seen: list[tuple[int, str, float]] = []

    async def ask(server: Server) -> None:
        client = await server.connect()
        while not over.is_set():
            response = await client.predict([1])
            version = response["X-Model-Version"]
            seen.append((response.status, version, response.json["prediction"]))

    async with serving_files(file) as (server, _):
        clients = [asyncio.ensure_future(ask(server)) for _ in range(8)]
        for number in range(1, 22):
            if number > 1:
                file.write_text(str(number * 10))
                await server.service.repository.reload()
            async with asyncio.timeout(SOON):
                while sum(version == str(number) for _, version, _ in seen) < 20:
                    await asyncio.sleep(0.001)
        over.set()
        await asyncio.gather(*clients)

    assert {(200, str(n), float(n * 10)) for n in range(1, 22)} == {*seen}


@over_http
async def test_what_is_replaced_is_freed(file: Path) -> None:
    async with serving_files(file) as (server, files):
        threads = threading.active_count()
        for _ in range(5):
            await server.service.repository.reload()
            await answer(server)
        async with asyncio.timeout(SOON):
            while len(files.models) > 1 or threading.active_count() > threads + 1:
                await asyncio.sleep(0.001)
                gc.collect()
        async with asyncio.timeout(SOON):
            while len(kept_open(file)) > 2:  # of the version that answers, and of the one before
                await asyncio.sleep(0.001)
                gc.collect()


def kept_open(file: Path) -> list[Path]:
    """Return this process's descriptors of a file."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of the folder itself
            if str(link.readlink()).removesuffix(" (deleted)") == str(file):
                found.append(link)
    return found


# What must not take its place


@pytest.mark.logs_warnings
@over_http
@pytest.mark.parametrize(
    "text, why",
    [
        ("broken", "is broken"),
        ("nan", "it answers NaN or infinity to rows that had finite answers before"),
        ("wide", "its signature is x: float32[2]"),
        ("what", "cannot be served: ValueError: could not convert"),
    ],
)
async def test_a_bad_file_leaves_the_old_version_serving(file: Path, text: str, why: str) -> None:
    async with serving_files(file, logs=["version 1 stays"]) as (server, _):
        file.write_text(text)
        with pytest.raises(LoadFailed, match=re.escape(why)):
            await server.service.repository.load("line")
        still = await answer(server)
        ready = await server.ask("GET", "/v2/health/ready")
        metrics = (await server.ask("GET", "/metrics")).body.decode()
        file.write_text("30")
        await server.service.repository.reload()
        then = await answer(server)
        repaired = await server.ask("GET", "/v2/health/ready")

    assert (still, then) == (("1", 10), ("2", 30))
    assert ready.status == 200
    [model] = ready.json["models"]
    assert (model["name"], model["version"], model["state"]) == ("line", "1", "READY")
    assert why in model["failure"]
    assert "/proc/" not in model["failure"]
    assert 'predict_reloads_total{outcome="failed"} 1.0' in metrics
    assert "failure" not in repaired.json["models"][0]


@pytest.mark.logs_warnings
@over_http
async def test_a_failure_names_the_file(file: Path) -> None:
    async with serving_files(file, logs=["version 1 stays"]) as (server, _):
        file.write_text("broken")
        with pytest.raises(LoadFailed) as caught:
            await server.service.repository.load("line")

    assert str(caught.value) == f"{file}: is broken"


@over_http
async def test_another_signature_can_be_allowed(file: Path) -> None:
    settings = with_settings(model={"allow_signature_change": True})
    async with serving_files(file, settings=settings) as (server, _):
        file.write_text("wide")
        await server.service.repository.load("line")
        response = await server.predict([1, 2])

    assert (response.status, response["X-Model-Version"]) == (200, "2")


@over_http
async def test_how_far_answers_moved_is_logged(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "server")
    async with serving_files(file) as (server, _):
        file.write_text("11")
        await server.service.repository.load("line")
        texts = [record.getMessage() for record in server.logs.records]

    assert any(
        "version 2 replaces version 1; answers to 3 example rows moved by up to 1.0e-01" in text
        for text in texts
    ), texts


# Back again


@over_http
async def test_a_rollback_serves_what_was_served_before(file: Path) -> None:
    async with serving_files(file) as (server, _):
        put(file, "20")
        await server.service.repository.load("line")
        answers = [await answer(server)]
        for _ in range(3):
            await server.service.repository.roll_back("line")
            answers.append(await answer(server))
        put(file, "30")
        await server.service.repository.load("line")
        answers.append(await answer(server))

    assert answers == [("2", 20), ("1", 10), ("2", 20), ("1", 10), ("3", 30)]
    assert server.service.counts.reloads == {"loaded": 2, "rolled_back": 3, "failed": 0}


@over_http
async def test_without_a_version_before_there_is_no_rollback(file: Path) -> None:
    async with serving_files(file) as (server, _):
        with pytest.raises(LoadFailed, match="No version of line was served before"):
            await server.service.repository.roll_back("line")
        still = await answer(server)

    assert still == ("1", 10)


@pytest.mark.parametrize("replace", ["renamed", "deleted"])
@over_http
async def test_a_file_that_is_no_longer_there_can_be_rolled_back_to(
    file: Path, replace: str
) -> None:
    async with serving_files(file) as (server, _):
        if replace == "deleted":
            file.unlink()
        put(file, "20")
        await server.service.repository.load("line")
        await server.service.repository.roll_back("line")
        assert await answer(server) == ("1", 10)


@over_http
async def test_a_version_whose_file_was_overwritten_in_place_does_not_come_back(
    file: Path,
) -> None:
    async with serving_files(file) as (server, _):
        file.write_text("20")
        await server.service.repository.load("line")
        with pytest.raises(
            LoadFailed, match=r"line\.keras was overwritten in place, so the version"
        ):
            await server.service.repository.roll_back("line")
        still = await answer(server)

    assert still == ("2", 20)


# A folder with versions


SEVERAL = with_settings(model={"max_versions": 3})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with versions 1 and 2."""
    path = tmp_path / "lines"
    (path / "2").mkdir(parents=True)
    (path / "1.keras").write_text("10")
    (path / "2" / "model.keras").write_text("20")
    return path


def versions(server: Server) -> list[tuple[str, str]]:
    """Return name and version of all that is loaded."""
    return [(model.name, model.version) for model in server.service.repository.models()]


@over_http
async def test_the_highest_version_answers_and_the_others_are_there(folder: Path) -> None:
    async with serving_files(folder, settings=SEVERAL) as (server, _):
        assert await answer(server) == ("2", 20)
        assert sorted(versions(server)) == [("lines", "1"), ("lines", "2")]


@over_http
async def test_of_a_folder_only_what_is_new_or_changed_is_loaded(folder: Path) -> None:
    async with serving_files(folder, settings=SEVERAL) as (server, _):
        repository = server.service.repository
        first = repository.slots["lines"].versions["1"]
        (folder / "10.keras").write_text("100")
        await repository.load("lines")
        assert await answer(server) == ("10", 100)
        assert repository.slots["lines"].versions["1"] is first
        (folder / "1.keras").unlink()
        (folder / "10.keras").unlink()
        (folder / "10.keras").write_text("1000")
        await repository.load("lines")
        assert await answer(server) == ("10", 1000)
        assert sorted(versions(server)) == [("lines", "10"), ("lines", "2")]


@over_http
async def test_a_rollback_in_a_folder_loads_nothing(folder: Path) -> None:
    async with serving_files(folder, settings=SEVERAL) as (server, files):
        repository = server.service.repository
        (folder / "3.keras").write_text("30")
        await repository.load("lines")
        files.hold()
        await repository.roll_back("lines")
        assert await answer(server) == ("2", 20)
        assert {version for _, version in versions(server)} == {"1", "2", "3"}
        await repository.load("lines")
        assert await answer(server) == ("3", 30)


@over_http
async def test_no_more_versions_are_loaded_than_may_be(folder: Path) -> None:
    settings = with_settings(model={"max_versions": 2})
    async with serving_files(folder, settings=settings) as (server, _):
        (folder / "3.keras").write_text("30")
        await server.service.repository.load("lines")
        assert sorted(versions(server)) == [("lines", "2"), ("lines", "3")]


@pytest.mark.logs_warnings
@over_http
async def test_an_old_version_that_is_broken_is_left_out(folder: Path) -> None:
    (folder / "1.keras").write_text("broken")
    async with serving_files(folder, settings=SEVERAL, logs=["version 1 is left out"]) as (
        server,
        _,
    ):
        assert await answer(server) == ("2", 20)
        assert versions(server) == [("lines", "2")]


# Out of service


@over_http
async def test_an_unloaded_model_is_not_served_until_it_is_loaded(file: Path) -> None:
    async with serving_files(file) as (server, files):
        await server.service.repository.unload("line")
        gone = await server.predict([1])
        await server.service.repository.reload()  # it is not asked for
        still_gone = await server.predict([1])
        async with asyncio.timeout(SOON):
            while files.models:
                await asyncio.sleep(0.001)
                gc.collect()
        await server.service.repository.roll_back("line")
        back = await answer(server)
        await server.service.repository.unload("line")
        await server.service.repository.load("line")
        again = await answer(server)

    for response in (gone, still_gone):
        assert (response.status, response.json["type"]) == (404, "/problems/unknown-model")
    assert (back, again) == (("1", 10), ("2", 10))


@over_http
async def test_a_model_that_nobody_knows_is_named(file: Path) -> None:
    async with serving_files(file) as (server, _):
        for change in (
            server.service.repository.load,
            server.service.repository.unload,
            server.service.repository.roll_back,
        ):
            with pytest.raises(UnknownModel, match="There is no model nobody"):
                await change("nobody")


@over_http
async def test_a_drain_ends_a_load_that_is_on_its_way(file: Path) -> None:
    async with serving_files(file) as (server, files):
        files.hold()
        reload = asyncio.ensure_future(server.service.repository.reload())
        await asyncio.to_thread(files.loading.wait, SOON)
        await asyncio.wait_for(server.service.drain(), SOON)
        with pytest.raises(asyncio.CancelledError):
            await reload
        await server.service.repository.reload()  # nothing more is changed
        with pytest.raises(Draining):
            await server.service.repository.load("line")
