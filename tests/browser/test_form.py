"""The form of the live page in a real Chromium: numbers, text, pictures; labels as bars."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_live_page import CHROMIUM, LOOKS, Tab, browser, tab_on
from tests.process.harness import Server

__all__ = ["browser"]

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not CHROMIUM, reason="chromium or chromium-browser is not installed: make browser-test"
    ),
    pytest.mark.timeout(240),
]

# Drops a file with these bytes on the form, as a file manager does.
DROP = """([type, bytes]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], "dropped", { type }));
    const place = document.querySelector(".drop");
    const about = { dataTransfer: transfer, bubbles: true, cancelable: true };
    for (const name of ["dragenter", "dragover", "drop"])
        place.dispatchEvent(new DragEvent(name, about));
}"""
LABELS = "{dense: {labels: [low, high]}}"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of y = 3x + 1 with labels."""
    folder = tmp_path_factory.mktemp("labelled") / "server"
    with Server(folder, "--model.outputs", LABELS) as server:
        yield server.until_ready()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of a model that names the brightest of three colours of a picture."""
    folder = tmp_path_factory.mktemp("pictures") / "server"
    arguments = (
        *("--model.inputs", "{picture: {image: {}}}"),
        *("--model.outputs", "{color: {labels: [red, green, blue]}}"),
    )
    with Server(folder, *arguments, environ={"FAKE_COLORS": "1"}) as server:
        yield server.until_ready()


def picture(color: tuple[int, int, int], kind: str = "PNG") -> bytes:
    image = pytest.importorskip("PIL.Image")
    file = BytesIO()
    image.new("RGB", (40, 30), color).save(file, kind)
    return file.getvalue()


def drop(tab: Tab, media_type: str, data: bytes) -> None:
    tab.page.evaluate(DROP, [media_type, list(data)])


def shown(tab: Tab, words: str) -> str:
    """Wait until the answer has these words; return all of it."""
    tab.wait("words => document.getElementById('prediction')?.textContent.includes(words)", words)
    answer: str = tab.page.inner_text("#prediction")
    return answer


def bars(tab: Tab) -> list[tuple[str, float]]:
    """Return the labels in the order in which they are shown, and how long their bars are."""
    rows = tab.page.eval_on_selector_all(
        "table.labels tr",
        """rows => rows.map(row => [row.querySelector("th").textContent,
            Number(row.querySelector("rect").getAttribute("width"))])""",
    )
    return [(label, width) for label, width in rows]


def test_one_number_has_a_field_and_its_labels_are_bars(browser: Any, labelled: Server) -> None:
    tab = tab_on(browser, labelled)
    tab.page.focus("input[type=number]")
    tab.page.keyboard.press("Control+A")
    tab.page.keyboard.type("-0.25")
    tab.page.keyboard.press("Enter")  # no mouse
    answer = shown(tab, "low")

    assert bars(tab) == [("low", 75.0), ("high", 25.0)]
    assert "0.750" in answer
    assert tab.complaints == []


def test_a_batch_in_json_has_bars_for_each_example(browser: Any, labelled: Server) -> None:
    tab = tab_on(browser, labelled)
    tab.page.click("text=Values as JSON")
    tab.page.fill("textarea", "[[0], [-0.25]]")
    tab.page.click("text=Predict")
    shown(tab, "example 2")

    assert [label for label, _ in bars(tab)] == ["high", "low", "low", "high"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of a model that takes a text and two numbers."""
    folder = tmp_path_factory.mktemp("texts") / "server"
    with Server(folder, environ={"FAKE_TEXT": "1"}) as server:
        yield server.until_ready()


def test_text_is_typed_as_it_is_and_numbers_have_a_field_each(browser: Any, texts: Server) -> None:
    tab = tab_on(browser, texts)
    tab.page.fill(".plain", 'say "hi"')
    first, second = tab.page.query_selector_all("input[type=number]")
    first.fill("7")
    second.fill("-8")
    tab.page.click("text=Predict")

    assert shown(tab, "length") == '{"length":8,"same":[7,-8]}'
    tab.page.click("text=Values as JSON")
    assert tab.page.eval_on_selector_all(".json", "all => all.map(each => each.value)") == [
        '"say \\"hi\\""',
        "[7,-8]",
    ]
    assert tab.complaints == []


def test_a_missing_number_is_named(browser: Any, labelled: Server) -> None:
    tab = tab_on(browser, labelled)
    tab.page.fill("input[type=number]", "")
    tab.page.click("text=Predict")

    assert shown(tab, "missing") == "x: a number is missing."


@pytest.mark.parametrize("width, theme", LOOKS)
def test_a_dropped_picture_is_shown_and_answered(
    browser: Any, pictures: Server, width: int, theme: str
) -> None:
    tab = tab_on(browser, pictures, width=width, theme=theme)
    drop(tab, "image/png", picture((255, 30, 0)))
    shown(tab, "red")
    drop(tab, "image/jpeg", picture((0, 0, 255), "JPEG"))
    tab.wait("label => document.querySelector('table.labels th').textContent === label", "blue")

    assert tab.page.is_visible("img[alt='The chosen picture']")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.complaints == []


# Chromium ignores keys until it has painted a page.
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def test_a_picture_is_chosen_with_the_keyboard(
    browser: Any, pictures: Server, tmp_path: Path
) -> None:
    file = tmp_path / "green.png"
    file.write_bytes(picture((0, 255, 0)))
    tab = tab_on(browser, pictures)
    tab.says("ready")
    tab.page.evaluate(PAINTED)
    with tab.page.expect_file_chooser() as chooser:
        tab.page.press("input[type=file]", "Enter")
    chooser.value.set_files(str(file))

    assert shown(tab, "green")
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.textContent") == "Predict"


def test_what_is_no_picture_is_an_error(browser: Any, pictures: Server) -> None:
    tab = tab_on(browser, pictures)
    drop(tab, "image/png", b"no picture")
    damaged = shown(tab, "picture")
    drop(tab, "text/plain", b"some words")
    other = shown(tab, "Content-Type")

    assert damaged != other
    assert not tab.page.is_visible("img[alt='The chosen picture']")


def test_without_a_picture_the_form_asks_for_one(browser: Any, pictures: Server) -> None:
    tab = tab_on(browser, pictures)
    tab.page.click("text=Predict")

    assert shown(tab, "choose") == "picture: choose a picture first."
