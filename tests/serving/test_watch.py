"""New versions of models, which are loaded by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.serving.watch import Watch
from tests.support.files import answer, put, serving_files
from tests.support.harness import Server, over_http


async def failure(server: Server) -> str:
    """Return what readiness says is wrong with the only model."""
    [model] = (await server.ask("GET", "/v2/health/ready")).json["models"]
    return str(model.get("failure", ""))


async def look(server: Server, times: int = 2) -> None:
    """Look at the files as often; what two looks in a row see is loaded."""
    watch = Watch(server.service.repository)
    for _ in range(times):
        await watch.look()


@over_http
async def test_a_replaced_file_is_loaded_at_the_second_look(tmp_path: Path) -> None:
    put(tmp_path / "m.keras", "10")
    async with serving_files(tmp_path / "m.keras") as (server, _):
        watch = Watch(server.service.repository)
        put(tmp_path / "m.keras", "20")
        await watch.look()
        before = await answer(server)
        await watch.look()
        after = await answer(server)

    assert (before, after) == (("1", 10), ("2", 20))


@over_http
async def test_nothing_is_loaded_where_nothing_has_changed(tmp_path: Path) -> None:
    put(tmp_path / "m.keras", "10")
    async with serving_files(tmp_path / "m.keras") as (server, files):
        await look(server, 5)
        assert await answer(server) == ("1", 10)
        assert len(files.models) == 1


@over_http
async def test_a_new_version_in_a_folder_is_loaded(tmp_path: Path) -> None:
    put(tmp_path / "1.keras", "10")
    async with serving_files(tmp_path) as (server, _):
        put(tmp_path / "2.keras", "20")
        await look(server)
        assert await answer(server) == ("2", 20)


@over_http
async def test_a_link_that_is_swapped_as_kubernetes_does_it_is_loaded(tmp_path: Path) -> None:
    for number in ("1", "2"):
        (tmp_path / f"..v{number}").mkdir()
        put(tmp_path / f"..v{number}" / "m.keras", f"{number}0")
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "m.keras").symlink_to("..data/m.keras")
    async with serving_files(tmp_path / "m.keras") as (server, _):
        (tmp_path / "..data_tmp").symlink_to("..v2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        await look(server)
        assert await answer(server) == ("2", 20)


@over_http
async def test_a_file_that_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path / "1.keras", "10")
    async with serving_files(tmp_path) as (server, files):
        watch = Watch(server.service.repository)
        for length in range(1, 4):
            (tmp_path / "2.keras").write_text("222"[:length])
            await watch.look()
        assert len(files.models) == 1
        await watch.look()
        assert await answer(server) == ("2", 222)


@pytest.mark.logs_warnings
@over_http
async def test_a_broken_version_is_named_once(tmp_path: Path) -> None:
    put(tmp_path / "1.keras", "10")
    async with serving_files(tmp_path, logs=["cannot take its place"]) as (server, _):
        put(tmp_path / "2.keras", "broken")
        await look(server, 6)
        texts = [record.getMessage() for record in server.logs.serious]
        told = await failure(server)
        put(tmp_path / "2.keras", "20")
        await look(server)
        assert await answer(server) == ("2", 20)
        mended = await failure(server)

    assert len(texts) == 1
    assert "version 1 stays" in texts[0]
    assert "2.keras" in told
    assert mended == ""


@pytest.mark.logs_warnings
@over_http
async def test_a_file_that_is_gone_is_named_once_and_loaded_when_it_is_back(tmp_path: Path) -> None:
    put(tmp_path / "1.keras", "10")
    async with serving_files(tmp_path, logs=["cannot take its place"]) as (server, _):
        (tmp_path / "1.keras").rename(tmp_path / "away")
        await look(server, 6)
        assert len(server.logs.serious) == 1
        assert await answer(server) == ("1", 10)
        (tmp_path / "away").rename(tmp_path / "1.keras")
        await look(server)
        assert await failure(server) == ""


@over_http
async def test_a_model_that_was_unloaded_stays_unloaded(tmp_path: Path) -> None:
    put(tmp_path / "m.keras", "10")
    async with serving_files(tmp_path / "m.keras") as (server, _):
        [name] = server.service.repository.slots
        await server.service.repository.unload(name)
        put(tmp_path / "m.keras", "20")
        await look(server, 3)
        assert server.service.repository.slots[name].current is None
        server.exchanges.clear()


@over_http
async def test_what_a_rollback_serves_is_not_replaced_again(tmp_path: Path) -> None:
    put(tmp_path / "m.keras", "10")
    async with serving_files(tmp_path / "m.keras") as (server, _):
        put(tmp_path / "m.keras", "20")
        await look(server)
        [name] = server.service.repository.slots
        await server.service.repository.roll_back(name)
        await look(server, 3)
        assert await answer(server) == ("1", 10)
