"""The files that pages load: browsers keep them until their content changes."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from server.errors import UnknownPath
from server.handlers.assets import STATIC, Assets
from tests.support.harness import Server, over_http, serving, with_settings

PAGES = ("/", "/docs", "/problems/loading")
HTML = {"Accept": "text/html"}
HASHED = re.compile(r"/static/([a-z-]+)-[0-9a-f]{12}\.(js|css)")


async def files_of_pages(server: Server) -> set[str]:
    """Return the addresses of all files that pages load."""
    bodies = [(await server.ask("GET", page, HTML)).body.decode() for page in PAGES]
    return {address for body in bodies for address in re.findall(r'"(/static/[^"]*)"', body)}


@over_http
async def test_pages_load_files_that_browsers_keep_for_ever() -> None:
    async with serving() as server:
        files = await files_of_pages(server)
        for file in files:
            response = await server.ask("GET", file)
            found = HASHED.fullmatch(file)
            assert found, file
            assert response["Cache-Control"] == "public, max-age=31536000, immutable"
            assert response.body == (STATIC / f"{found[1]}.{found[2]}").read_bytes()

    assert len(files) >= 7


@over_http
async def test_a_file_without_a_hash_in_its_name_is_kept_for_an_hour() -> None:
    async with serving() as server:
        response = await server.ask("GET", "/static/live.js")

    assert (response.status, response["Cache-Control"]) == (200, "public, max-age=3600")


@over_http
async def test_a_file_with_another_hash_is_404() -> None:
    async with serving() as server:
        response = await server.ask("GET", "/static/live-000000000000.js")

    assert response.status == 404
    assert response["Cache-Control"] == "no-store"


@over_http
async def test_files_documents_and_pages_are_compressed_for_those_who_take_it() -> None:
    async with serving() as server:
        for path in (*await files_of_pages(server), "/openapi.json", "/"):
            plain = await server.ask("GET", path, HTML)
            zipped = await server.ask("GET", path, HTML | {"Accept-Encoding": "gzip, br"})
            head = await server.ask("HEAD", path, HTML | {"Accept-Encoding": "gzip, br"})
            assert "Content-Encoding" not in plain
            assert zipped["Content-Encoding"] == head["Content-Encoding"] == "gzip"
            assert plain["Vary"] == zipped["Vary"]
            assert plain["Vary"].endswith("Accept-Encoding")
            assert gzip.decompress(zipped.body) == plain.body
            assert int(head["Content-Length"]) == len(zipped.body) < len(plain.body)


@over_http
async def test_what_is_cached_also_depends_on_the_origin_where_origins_are_allowed() -> None:
    settings = with_settings(http={"cors_origins": ("https://a.example",)})
    async with serving(settings=settings) as server:
        response = await server.ask("GET", "/openapi.json", {"Origin": "https://a.example"})

    assert response["Vary"] == "Origin, Accept-Encoding"
    assert response["Access-Control-Allow-Origin"] == "https://a.example"


def test_a_name_changes_with_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.min.js").write_text("1")
    before = Assets(tmp_path).url("a.min.js")
    (tmp_path / "a.min.js").write_text("2")
    assets = Assets(tmp_path)
    after = assets.url("a.min.js")

    assert before != after
    assert after.startswith("/static/a.min-")
    assert after.endswith(".js")
    assert assets.find(after.removeprefix("/static/")).content == b"2"
    with pytest.raises(UnknownPath):
        assets.find(before.removeprefix("/static/"))
