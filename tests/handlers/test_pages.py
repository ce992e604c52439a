"""The pages for people: `/`, `/docs`, `/problems/…`."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import threading
from functools import partial
from html.parser import HTMLParser

import pytest

from model.signature import Signature, TensorSpec
from server.problems import PROBLEMS
from tests.openapi.test_openapi import resolve
from tests.support.fake_process import in_threads
from tests.support.harness import (
    FakeModel,
    Response,
    Server,
    listening,
    over_http,
    request_bytes,
    serving,
    with_settings,
)

BROWSERS = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SEVERAL = Signature(
    (TensorSpec("user", (1,), "int32"), TensorSpec("history", (None, 2), "float32")),
    (TensorSpec("rating", (1,), "float32"), TensorSpec("<odds>", (3,), "float64")),
)


class Page(HTMLParser):
    """A page as a browser parses it.

    Attributes:
        text: the visible text.
        blocks: the preformatted texts, made to be copied.
        addresses: what the page loads or links to: tag, attribute, address.
        elements: every tag with its attributes.
        scripts: the texts of scripts within the page.
    """

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.text = ""
        self.title = ""
        self.blocks: list[str] = []
        self.addresses: list[tuple[str, str, str]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside: list[str] = []
        self.feed(response.body.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img", "hr", "input"):
            self._inside.append(tag)
        if tag == "pre":
            self.blocks.append("")
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "srcset", "poster"):
                self.addresses.append((tag, name, value or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data
        if "pre" in self._inside:
            self.blocks[-1] += data
        if "script" in self._inside:
            self.scripts.append(data)
        if "title" in self._inside:
            self.title += data

    def close(self) -> None:
        super().close()
        assert not self._inside, f"not closed: {self._inside}"


async def page_at(server: Server, path: str) -> Page:
    """Get a page as a browser does."""
    headers = {"Host": f"127.0.0.1:{server.port}", "Accept": BROWSERS}
    response = await server.ask("GET", path, headers)
    assert response.status == 200, response
    assert response["Content-Type"].lower() == "text/html; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"
    return Page(response)


def policy_of(response: Response) -> dict[str, set[str]]:
    """Return the page's Content-Security-Policy by directive."""
    directives = (part.split() for part in response["Content-Security-Policy"].split(";"))
    return {name: set(sources) for name, *sources in directives}


# Start page


@over_http
async def test_the_start_page_shows_name_version_and_signature() -> None:
    settings = with_settings(model={"name": "Preise & <b>Mehr</b>", "version": "2026-a"})
    async with serving(FakeModel(SEVERAL), settings) as server:
        page = await page_at(server, "/")

    for words in ("Preise & <b>Mehr</b>", "2026-a", "user", "int32", "[1]", "history", "[?, 2]"):
        assert words in page.text
    for words in ("rating", "<odds>", "float64", "[3]"):
        assert words in page.text
    assert "b" not in [tag for tag, _ in page.elements]  # names are text, never markup
    assert "Preise" in page.title


@over_http
async def test_the_start_page_shows_what_was_measured_and_chosen() -> None:
    async with serving(settings=with_settings(batching={"max_rows": "auto"})) as server:
        page = await page_at(server, "/")
        size = server.service.model.batch_size

    assert f"up to {size.rows} rows per batch" in page.text
    assert [point.rows for point in size.curve][:3] == [1, 2, 4]
    for point in size.curve:
        assert f"{point.rows:,}{point.seconds * 1000:,.2f}" in page.text.replace("\n", "")
    assert [names.get("aria-current") for _, names in page.elements].count("true") == 1


@over_http
async def test_the_start_page_shows_no_curve_if_max_rows_is_configured() -> None:
    async with serving(settings=with_settings(batching={"max_rows": 17})) as server:
        page = await page_at(server, "/")

    assert "up to 17 rows per batch" in page.text
    assert "rows per second" not in page.text


@pytest.mark.parametrize("signature", [None, SEVERAL], ids=["a number", "several"])
@over_http
async def test_the_curl_commands_return_what_the_start_page_shows(
    signature: Signature | None,
) -> None:
    model = FakeModel(signature) if signature else FakeModel()
    async with serving(model) as server:
        examples = curls_of(await page_at(server, "/"))
        for command, shown in examples:
            url, headers, body = parse_curl(command)
            assert url == f"{server.origin}/predict"
            response = await server.ask("POST", "/predict", headers, body.encode())
            assert (response.status, response.json) == (200, json.loads(shown))

    assert len(examples) >= 2  # one example, and a batch


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed: apt-get install curl")
@pytest.mark.parametrize("name", ["x", "it's", '"quoted"', "$HOME", "a\\b", "`id`", "größe"])
@over_http
async def test_the_curl_commands_work_in_a_shell_with_any_input_name(
    name: str,
) -> None:
    inputs = (TensorSpec(name, (1,), "float32"), TensorSpec("b", (1,), "float32"))
    async with serving(FakeModel(Signature(inputs, SEVERAL.outputs[:1]))) as server:
        for command, shown in curls_of(await page_at(server, "/")):
            command = command.replace("curl ", "curl -sS --noproxy '*' ", 1)
            done = await asyncio.to_thread(
                subprocess.run, ["sh", "-c", command], capture_output=True, timeout=20, check=False
            )
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout) == json.loads(shown)


def curls_of(page: Page) -> list[tuple[str, str]]:
    """Return the curl commands of a page, each with the response shown below it."""
    places = [n for n, block in enumerate(page.blocks) if block.startswith("curl ")]
    return [(page.blocks[n], page.blocks[n + 1]) for n in places]


def parse_curl(command: str) -> tuple[str, dict[str, str], str]:
    """Return a curl command's URL, headers and body."""
    curl, *words = shlex.split(command)
    assert curl == "curl"
    url, headers, body = "", {}, ""
    while words:
        match words:
            case ["-d", body, *words]:
                pass
            case ["-H", header, *words]:
                key, _, value = header.partition(": ")
                headers[key] = value
            case [url, *words]:
                pass
    return url, headers, body


@over_http
async def test_every_link_on_every_page_works() -> None:
    paths = ["/", "/docs", *(f"/problems/{problem.slug}" for problem in PROBLEMS.values())]
    async with serving() as server:
        links = {
            address
            for path in paths
            for tag, _, address in (await page_at(server, path)).addresses
            if not address.startswith("data:")
        }
        for link in links:
            assert (await server.ask("GET", link)).status == 200, link

    assert {"/docs", "/openapi.json", "/v2/health/ready", "/v2/health/live"} <= links


@over_http
async def test_the_start_page_says_when_the_model_is_loading() -> None:
    hold = threading.Event()

    def load(_: object) -> FakeModel:
        hold.wait(20)
        return FakeModel()

    async with listening() as server:
        starting = asyncio.ensure_future(server.service.start(in_threads(load)))
        page = await page_at(server, "/")
        docs = await page_at(server, "/docs")
        problem = await page_at(server, "/problems/loading")
        hold.set()
        await starting
        later = await page_at(server, "/")

    assert "loading" in page.text.lower()
    assert not curls_of(page)
    assert docs.addresses
    assert problem.text
    assert curls_of(later)


@over_http
async def test_a_host_header_with_markup_is_escaped() -> None:
    async with serving() as server:
        for host in ('a"><script>alert(1)</script>', "a'b", "<b>", "a&b"):
            client = await server.connect()
            headers = {"Host": host, "Connection": "close", "Accept": BROWSERS}
            await client.send(request_bytes("GET", "/", headers))
            answer = await client.rest()
            assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
            assert b"<script>alert" not in answer
            assert b"<b>" not in answer


@over_http
async def test_programs_get_json_at_the_start_page(subtests: pytest.Subtests) -> None:
    async with serving() as server:
        for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json, text/plain"}):
            with subtests.test(**accept):
                response = await server.ask("GET", "/", accept)
                assert (response.status, response.media_type) == (200, "application/json")
                assert response["Vary"] == "Accept"
                assert response.json["status"] == "alive"
                assert (await server.ask("GET", response.json["documentation"])).status == 200
                assert (await server.ask("GET", response.json["openapi"])).status == 200
        for accepted in (BROWSERS, "text/HTML;q=0.1, */*"):
            response = await server.ask("GET", "/", {"Accept": accepted})
            assert response.media_type == "text/html"
            assert response["Vary"] == "Accept, Accept-Encoding"


# API documentation


@over_http
async def test_the_docs_load_only_files_of_the_service() -> None:
    async with serving() as server:
        response = await server.ask("GET", "/docs")
        page = Page(response)
        files = [a for tag, name, a in page.addresses if not a.startswith("data:")]
        loaded = {file: await server.ask("GET", file) for file in files}

    assert b"http://" not in response.body
    assert b"https://" not in response.body
    assert all(file.startswith("/") and not file.startswith("//") for file in files)
    for file, answer in loaded.items():
        assert answer.status == 200
        kind = "javascript" if file.endswith(".js") else "text/css"
        assert kind in answer.media_type  # else browsers refuse it: nosniff
        assert answer["X-Content-Type-Options"] == "nosniff"
    assert {file.rpartition(".")[2] for file in files} == {"js", "css"}
    styles = b"".join(a.body for f, a in loaded.items() if f.endswith(".css")).decode()
    for address in re.findall(r"url\(\s*['\"]?([^'\")]*)", styles):
        assert address.startswith("data:"), address
    assert "@import" not in styles


@over_http
async def test_the_docs_show_openapi_json_and_use_no_external_validator() -> None:
    async with serving() as server:
        page = await page_at(server, "/docs")
        scripts = [a for tag, _, a in page.addresses if tag == "script" and "swagger" not in a]
        own = [(await server.ask("GET", script)).body.decode() for script in scripts]

    [script] = own
    assert "url: `${document.documentElement.dataset.root}/openapi.json`" in script
    assert re.search(r"validatorUrl:\s*null", script)
    [target] = re.findall(r'dom_id:\s*"#([^"]*)"', script)
    assert target in [attributes.get("id") for _, attributes in page.elements]


@over_http
async def test_the_policy_of_pages_allows_only_files_of_the_service() -> None:
    async with serving() as server:
        for path in ("/", "/docs", "/problems/loading"):
            response = await server.ask("GET", path, {"Accept": BROWSERS})
            policy = policy_of(response)
            assert policy["default-src"] == {"'none'"}
            assert policy["script-src"] == {"'self'"}
            assert policy["connect-src"] == {"'self'"}
            assert policy["frame-ancestors"] == {"'none'"}
            for sources in policy.values():
                assert sources <= {"'none'", "'self'", "'unsafe-inline'", "data:"}
            page = Page(response)
            assert not "".join(page.scripts).strip()  # the policy would not run it
            assert not [a for _, names in page.elements for a in names if a.startswith("on")]


@over_http
async def test_try_it_out_in_the_docs_works() -> None:
    """The document names this server, and its examples are sent as a supported media type."""
    async with serving() as server:
        document = (await server.ask("GET", "/openapi.json")).json
        [base] = [entry["url"] for entry in document["servers"]]
        operation = document["paths"]["/predict"]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        assert content["examples"]
        for example in map(partial(resolve, document), content["examples"].values()):
            response = await server.ask(
                "POST",
                base.rstrip("/") + "/predict",
                {"Content-Type": "application/json", "Origin": server.origin},
                json.dumps(example["value"], indent=2).encode(),
            )
            assert response.status == 200


# Explanations of problem types


@over_http
async def test_every_problem_has_its_page() -> None:
    async with serving() as server:
        for problem in PROBLEMS.values():
            page = await page_at(server, f"/problems/{problem.slug}")
            assert problem.title in page.text
            assert str(problem.status.value) in page.text
            assert len(page.text.split()) > 8


@over_http
async def test_the_type_of_a_problem_leads_to_its_page() -> None:
    async with serving() as server:
        for refused in (
            await server.post(b"{"),
            await server.predict("?"),
            await server.ask("GET", "/nothing"),
            await server.ask("PUT", "/predict"),
            await server.ask("POST", "/predict", {}, b"1"),
        ):
            page = await page_at(server, refused.json["type"])
            assert refused.json["title"] in page.text


@over_http
async def test_an_unknown_problem_type_is_404() -> None:
    async with serving() as server:
        response = await server.ask("GET", "/problems/nothing")

    assert (response.status, response.json["type"]) == (404, "/problems/not-found")


def test_every_problem_has_a_unique_slug_a_title_and_a_meaning() -> None:
    slugs = [problem.slug for problem in PROBLEMS.values()]
    assert len(set(slugs)) == len(slugs)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in slugs)
    assert all(error.__doc__ and problem.title for error, problem in PROBLEMS.items())
