"""The pages in a real Chromium, under the prefix of a real proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_live_page import PATIENCE_MS, browser, pytestmark
from tests.process.harness import Server
from tests.process.test_proxies import NEEDS, Proxy

__all__ = ["browser"]
pytestmark = [*pytestmark, NEEDS["nginx"]]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a proxy that shows a server under /ml."""
    told = ("--http.trusted_proxies", "127.0.0.1")
    with Server(tmp_path / "server", "--http.root_path", "/ml", *told) as server:
        server.until_ready()
        with Proxy("nginx", tmp_path / "proxy", server) as proxy:
            yield f"http://127.0.0.1:{proxy.port}/ml"


def opened(browser: Any, url: str) -> tuple[Any, list[str], list[str]]:
    """Open a page; return it with the messages of its console and what it has asked for."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    return page, complaints, asked


def test_the_start_page_is_alive_and_predicts(browser: Any, address: str) -> None:
    page, complaints, asked = opened(browser, f"{address}/")
    page.wait_for_function(
        "() => document.getElementById('state').textContent.includes('ready') &&"
        "[...document.querySelectorAll('figure output')].some(o => /^[0-9]/.test(o.value))"
    )
    page.fill("input[type=number]", "10")
    page.click("#try button[type=submit]")
    assert page.inner_text("#prediction") == "31"
    assert complaints == []
    assert all(url.startswith((f"{address}/", "data:")) for url in asked), asked


def test_swagger_ui_shows_the_document_and_asks_the_right_address(
    browser: Any, address: str
) -> None:
    page, complaints, _ = opened(browser, f"{address}/docs")
    page.wait_for_selector(".opblock")
    assert page.inner_text(".servers option") == address
    assert complaints == []
    assert page.request.get(f"{address}/openapi.json").ok
