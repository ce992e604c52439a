"""SIGHUP: what a running service takes over of settings that have changed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from server.config import ApiKey, ConfigError, ModelSource, Settings
from server.live_settings import LiveSettings
from tests.support.files import serving_files
from tests.support.harness import SOON, Response, Server, over_http
from tests.transport.test_tls import CERT, KEY, tls_settings

RENEWED, RENEWED_KEY = CERT.replace("tls", "renewed"), KEY.replace("tls", "renewed")
JSON = {"Content-Type": "application/json"}


@dataclass
class Reloading:
    """Settings that a test changes, and what applies them to a server."""

    server: Server
    live: LiveSettings
    settings: Settings

    async def reload(self, **changed: object) -> None:
        self.settings = replace(self.settings, **changed)
        await self.live.reload()


def reloading(server: Server) -> Reloading:
    settings = server.service.settings

    def read() -> Settings:
        return it.settings

    live = LiveSettings(
        read, settings, server.service.repository, server.keys, server.accepting_tls
    )
    it = Reloading(server, live, settings)
    return it


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., ModelSource]:
    """A function that writes a model's file, and returns its entry in the settings."""

    def write(file: str, text: str, name: str = "") -> ModelSource:
        path = tmp_path / f"{file}.keras"
        path.write_text(text)
        return ModelSource(path=str(path), name=name)

    return write


async def ask(server: Server, path: str = "/predict", key: str = "") -> Response:
    headers = JSON | ({"X-API-Key": key} if key else {})
    return await server.ask("POST", path, headers, b'{"data": [1]}')


async def answers(server: Server, *names: str) -> list[object]:
    """Return what the default model and those of these names answer to 1, or the status."""
    paths = ["/predict", *(f"/models/{name}/predict" for name in names)]
    asked = [await ask(server, path) for path in paths]
    server.exchanges.clear()  # the document at the end has only the models that are left
    return [each.json["prediction"] if each.status == 200 else each.status for each in asked]


@over_http
async def test_models_are_added_and_removed(write: Callable[..., ModelSource]) -> None:
    a, b, c = (write(name, text) for name, text in (("a", "10"), ("b", "20"), ("c", "30")))
    async with serving_files(a, b) as (server, _):
        it = reloading(server)
        before = await answers(server, "a", "b", "c")
        await it.reload(models=(a, c))
        after = await answers(server, "a", "b", "c")
        listed = (await server.ask("GET", "/v2/models")).json["models"]
        gone = server.service.repository.slots.get("b")

    assert before == [10, 10, 20, 404]
    assert after == [10, 10, 404, 30]
    assert (listed, gone) == (["a", "c"], None)


@over_http
async def test_what_a_removed_model_has_accepted_is_answered(
    write: Callable[..., ModelSource],
) -> None:
    a, b = write("a", "10"), write("b", "20")
    async with serving_files(a, b) as (server, files):
        [held] = [model for model in files.models if model.spoil(1 + 3 * 1) == 20]
        held.batches.clear()
        held.hold()
        waiting = asyncio.ensure_future(ask(server, "/models/b/predict"))
        await held.called()
        await reloading(server).reload(models=(a,))
        gone = await ask(server, "/models/b/predict")
        held.release()
        answer = await asyncio.wait_for(waiting, SOON)
        server.exchanges.clear()

    assert (gone.status, answer.json) == (404, {"prediction": 20})


@over_http
async def test_the_first_model_of_the_settings_becomes_the_default(
    write: Callable[..., ModelSource],
) -> None:
    a, b = write("a", "10"), write("b", "20")
    async with serving_files(a) as (server, _):
        it = reloading(server)
        await it.reload(models=(b, a))
        both = await answers(server, "a", "b")
        await it.reload(models=(b,))
        one = await answers(server, "a", "b")

    assert both == [20, 10, 20]
    assert one == [20, 404, 20]


@over_http
async def test_a_new_model_is_loaded_while_the_old_ones_answer(
    write: Callable[..., ModelSource],
) -> None:
    a, b = write("a", "10"), write("b", "20")
    async with serving_files(a) as (server, files):
        files.hold()
        reload = asyncio.ensure_future(reloading(server).reload(models=(b,)))
        await asyncio.to_thread(files.loading.wait, SOON)
        meanwhile = await answers(server)
        files.release()
        await reload
        then = await answers(server)

    assert (meanwhile, then) == ([10], [20])


@pytest.mark.logs_warnings
@over_http
async def test_a_broken_new_default_model_leaves_the_old_one(
    write: Callable[..., ModelSource],
) -> None:
    a, b = write("a", "10"), write("b", "broken")
    logs = ["b: not served", "a stays the default model, because b is not loaded"]
    async with serving_files(a, logs=logs) as (server, _):
        it = reloading(server)
        await it.reload(models=(b,))
        still = await answers(server, "b")
        write("b", "20")
        await it.reload()
        then = await answers(server, "a")

    assert still == [10, 503]
    assert then == [20, 404]


@pytest.mark.logs_warnings
@over_http
async def test_another_file_for_a_name_replaces_the_model_if_it_can_be_loaded(
    write: Callable[..., ModelSource],
) -> None:
    first, bad, good = (
        write(file, text, name="m") for file, text in (("a", "10"), ("b", "broken"), ("c", "30"))
    )
    async with serving_files(first, logs=["version 1 stays"]) as (server, _):
        it = reloading(server)
        await it.reload(models=(bad,))
        still = await answers(server)
        await it.reload(models=(good,))
        then = await answers(server)

    assert (still, then) == ([10], [30])


@pytest.mark.logs_warnings
@over_http
async def test_invalid_settings_change_nothing(write: Callable[..., ModelSource]) -> None:
    a = write("a", "10")

    def read() -> Settings:
        raise ConfigError("config.yaml: line 3: http: given twice")

    async with serving_files(a, logs=["nothing is reloaded, because the settings are inv"]) as (
        server,
        _,
    ):
        live = LiveSettings(
            read, server.service.settings, server.service.repository, server.keys, None
        )
        write("a", "20")
        await live.reload()
        assert await answers(server) == [10]


@over_http
async def test_api_keys_are_replaced(write: Callable[..., ModelSource]) -> None:
    async with serving_files(write("a", "10")) as (server, _):
        it = reloading(server)
        client = await server.connect()
        open_to_all = await client.ask("POST", "/predict", JSON, b'{"data": [1]}')
        auth = replace(it.settings.auth, api_keys=(ApiKey.of("old"),))
        await it.reload(auth=auth)
        closed = await client.ask("POST", "/predict", JSON, b'{"data": [1]}')
        with_old = await ask(server, key="old")
        await it.reload(auth=replace(auth, api_keys=(ApiKey.of("new"),)))
        statuses = [(await ask(server, key=key)).status for key in ("old", "new")]

    assert (open_to_all.status, closed.status, with_old.status) == (200, 401, 200)
    assert statuses == [401, 200]


@pytest.mark.logs_warnings
@over_http
async def test_settings_that_need_a_restart_are_named(write: Callable[..., ModelSource]) -> None:
    words = "changed, but only used after a restart: model.max_versions, http.port, http.tls_cert"
    async with serving_files(write("a", "10"), logs=[words]) as (server, _):
        it = reloading(server)
        model = replace(it.settings.model, max_versions=2, path="not/used.keras")
        await it.reload(
            model=model, http=replace(it.settings.http, port=1, tls_cert=CERT, tls_key=KEY)
        )
        assert await answers(server) == [10]


async def presented(server: Server, name: str | None) -> str:
    """Return the certificate that the server shows to a client that names it, or names nothing."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=context, server_hostname=name or ""
    )
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(shown)


@over_http
async def test_a_new_certificate_is_used_for_new_connections(
    write: Callable[..., ModelSource],
) -> None:
    async with serving_files(write("a", "10"), settings=tls_settings()) as (server, _):
        it = reloading(server)
        client = await server.connect()
        await client.predict([1])
        before = await presented(server, "localhost")
        await it.reload(http=replace(it.settings.http, tls_cert=RENEWED, tls_key=RENEWED_KEY))
        after = {await presented(server, "localhost"), await presented(server, None)}
        kept = await client.predict([1])

    assert before.split() == Path(CERT).read_text().split()
    assert {text.replace("\n", "") for text in after} == {
        Path(RENEWED).read_text().replace("\n", "")
    }
    assert kept.json == {"prediction": 10}


@pytest.mark.logs_warnings
@over_http
async def test_a_certificate_that_cannot_be_used_leaves_the_old_one(
    write: Callable[..., ModelSource],
) -> None:
    logs = ["nothing is reloaded, because the settings are invalid: http.tls_cert"]
    async with serving_files(write("a", "10"), settings=tls_settings(), logs=logs) as (server, _):
        it = reloading(server)
        await it.reload(http=replace(it.settings.http, tls_cert=RENEWED))
        shown = await presented(server, "localhost")

    assert shown.split() == Path(CERT).read_text().split()
