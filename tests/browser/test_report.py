"""Reports in a real Chromium, in both themes and at two widths."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from server.loadtest.report.sweep_report import report
from tests.browser.test_live_page import LOOKS, browser, pytestmark
from tests.loadtest.fakes import result_of

__all__ = ["browser", "pytestmark"]


def two_runs() -> str:
    """With texts of the greatest length."""
    new, old = result_of(1_000, "new"), result_of(700, "old", refuses=True)
    new["server"] = {"model a_long_name_of_a_model": "version 1, up to 1024 rows a call"}
    new["url"] = f"http://a-long-name-of-a-machine.example:18433/{'a' * 80}/predict"
    return report([new, old])


@pytest.mark.parametrize("width, theme", LOOKS)
def test_a_report_fits_and_loads_nothing(
    browser: Any, tmp_path: Path, width: int, theme: str
) -> None:
    """Its charts are legible: no text is smaller than 9 pixels on a phone."""
    file = tmp_path / "report.html"
    with ThreadPoolExecutor() as pool:  # the browser's own event loop has this one
        file.write_text(pool.submit(two_runs).result())
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("request", lambda request: complaints.append(request.url))
    page.goto(file.as_uri())

    assert complaints == [file.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    scales = "[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width / 400)"
    assert min(page.evaluate(scales)) * 11 >= 9
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(21, 24, 28)" if theme == "dark" else "rgb(255, 255, 255)")
    page.close()
