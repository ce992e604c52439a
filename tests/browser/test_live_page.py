"""The live page in a real Chromium; `make browser-test` installs one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.harness import REAL, Server, free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not CHROMIUM, reason="chromium or chromium-browser is not installed: make browser-test"
    ),
    pytest.mark.timeout(240),
]

PATIENCE_MS = 20_000
# Widths in pixels, and themes.
LOOKS = [
    *((390, "light"), (1280, "dark")),
    pytest.param(390, "dark", marks=pytest.mark.torture),
    pytest.param(1280, "light", marks=pytest.mark.torture),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's own sandbox needs a kernel feature that containers lack; it sees our page only.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A tab with the live page, and the messages of its console."""

    def __init__(self, browser: Any, port: int, width: int = 1280, theme: str = "light") -> None:
        viewport = {"width": width, "height": 900}
        self.page = browser.new_page(viewport=viewport, color_scheme=theme)
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.requested: set[str] = set()
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requested.add(request.url))
        self.page.goto(f"http://127.0.0.1:{port}/")

    def says(self, words: str) -> None:
        """Wait until the state of the server is shown as these words."""
        self.wait("words => document.getElementById('state').textContent.includes(words)", words)

    def shows(self, chart: str, number: str) -> None:
        """Wait until the first number of a chart matches a regular expression."""
        self.wait(
            """([chart, number]) => [...document.querySelectorAll("figure")].some(
                f => f.textContent.startsWith(chart)
                    && new RegExp(`^${number}$`).test(f.querySelector("output").value))""",
            [chart, number],
        )

    def wait(self, function: str, argument: Any) -> None:
        self.page.wait_for_function(function, arg=argument)

    def pixels(self) -> list[str]:
        """Return what the charts look like."""
        found: list[str] = self.page.evaluate(
            "[...document.querySelectorAll('canvas')].map(canvas => canvas.toDataURL())"
        )
        return found


def tab_on(browser: Any, server: Server, **options: Any) -> Tab:
    return Tab(browser, server.port, **options)


@pytest.mark.keras
def test_the_form_predicts_31_for_10(browser: Any, example_model: Path, tmp_path: Path) -> None:
    with Server(tmp_path / "server", str(example_model), command=REAL) as server:
        tab = tab_on(browser, server.until_ready())
        tab.page.fill("input[type=number]", "10")
        tab.page.keyboard.press("Tab")
        tab.page.keyboard.press("Enter")  # no mouse
        answer = float(tab.page.inner_text("#prediction"))
        timing = tab.page.inner_text("#answer dl")

    assert answer == pytest.approx(31, abs=0.2)
    for words in ("queue", "model", "total", "1 rows"):
        assert words in timing


@pytest.mark.parametrize("width, theme", LOOKS)
def test_the_page_loads_without_errors_in_the_console(
    browser: Any, server: Server, width: int, theme: str
) -> None:
    tab = tab_on(browser, server, width=width, theme=theme)
    tab.says("ready")
    tab.shows("Requests per second", r"[\d.]+")

    assert tab.complaints == []
    assert all(
        url.startswith((f"http://127.0.0.1:{server.port}/", "data:")) for url in tab.requested
    )
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    dark = (
        tab.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    )
    assert dark == (theme == "dark")


def test_the_charts_move_under_load(browser: Any, server: Server) -> None:
    tab = tab_on(browser, server)
    tab.shows("Requests per second", "0")
    still = tab.pixels()

    client = server.connect()
    for _ in range(200):
        client.send([1]).answer(keep=True)
    tab.shows("Rows per batch", "1")

    assert len(still) == 6
    assert tab.pixels()[:3] != still[:3]


def test_the_page_shows_why_a_request_was_rejected(browser: Any, server: Server) -> None:
    tab = tab_on(browser, server)
    tab.page.click("text=Values as JSON")
    tab.page.fill("textarea", '["x"]')
    tab.page.click("text=Predict")

    assert re.search("/data/0", tab.page.inner_text("#prediction"))


def test_the_page_shows_that_the_server_is_gone_and_reconnects(
    browser: Any, tmp_path: Path
) -> None:
    port = free_port()
    arguments = ("--http.port", str(port))
    with Server(tmp_path / "first", *arguments) as server:
        tab = Tab(browser, server.until_ready().port)
        tab.says("ready")
        server.signal()
        assert server.exit_code() == 0  # the open stream does not keep it
    tab.says("does not answer")
    with Server(tmp_path / "second", *arguments) as server:
        server.until_ready()
        tab.says("ready")


# A model whose examples are too long to show


@pytest.fixture(scope="module")
def image_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("image") / "server"
    environ = {"FAKE_IMAGE": "1", "SERVER_BATCHING__MAX_ROWS": "1"}
    with Server(folder, environ=environ) as server:
        yield server.until_ready()


@pytest.mark.torture
def test_the_page_of_an_image_is_short_and_predicts_a_random_one(
    browser: Any, image_server: Server
) -> None:
    tab = tab_on(browser, image_server)
    tab.says("ready")
    tab.page.click("text=Predict")
    said = tab.page.inner_text("#prediction")
    tab.page.click("text=Random example")
    shown = tab.page.input_value("textarea"), tab.page.get_attribute("textarea", "placeholder")
    tab.page.click("text=Predict")
    tab.wait("words => document.getElementById('prediction').textContent.includes(words)", "0.")
    answer = tab.page.inner_text("#prediction")
    height = tab.page.evaluate("document.documentElement.scrollHeight")

    assert "image is empty" in said
    assert shown == ("", "random float32 [224,224,3]")
    assert re.search(r"… \([\d,]{7,} characters\)$", answer)
    assert len(answer) < 10_100
    assert height < 10_000
    assert tab.complaints == []


@pytest.mark.torture
def test_what_is_typed_goes_before_a_random_example(browser: Any, image_server: Server) -> None:
    tab = tab_on(browser, image_server)
    tab.page.click("text=Random example")
    tab.page.fill("textarea", "[1]")
    tab.page.click("text=Predict")
    tab.wait("words => document.getElementById('prediction').textContent.includes(words)", "/data")


@pytest.mark.torture  # Swagger UI takes seconds of CPU time
def test_the_docs_of_an_image_show_short_samples(browser: Any, image_server: Server) -> None:
    """Swagger UI makes samples of schemas; it would fill them up to 150,000 numbers."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"http://127.0.0.1:{image_server.port}/docs")
    for operation in ("predict", "predict-tfserving-name", "predict-v2-name"):
        page.click(f"#operations-predictions-{operation} .opblock-summary-control")
        page.wait_for_selector(f"#operations-predictions-{operation} .highlight-code")
    samples = page.eval_on_selector_all(".highlight-code", "all => all.map(each => each.innerText)")
    text = page.inner_text("body")
    page.close()

    assert any("data" in sample for sample in samples)
    assert max(map(len, samples)) < 3_000
    assert "The request is too long to show (image: float32[224, 224, 3])." in text
    assert complaints == []
