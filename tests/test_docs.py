"""The documentation has no broken links, and the index lists every page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
PAGES = sorted([*CHECKOUT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def links_of(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of this checkout that a page links to, each with its anchor."""
    for link in LINK.findall(text_of(page)):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            yield (page.parent / path.replace("%20", " ")).resolve() if path else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in links_of(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors_of(target), f"{target}#{anchor}"


def test_the_index_lists_every_page() -> None:
    listed = {target for target, _ in links_of(DOCS / "README.md")}
    listed |= {target for target, _ in links_of(DOCS / "decisions" / "README.md")}

    assert {page for page in DOCS.rglob("*.md") if page.name != "README.md"} <= listed


def test_every_row_of_coming_from_has_a_test() -> None:
    """A test has the name of its row: `test_its_name` for "its name"."""
    rows = re.findall(r"^\| ([^|`-]+) \|", (DOCS / "coming-from.md").read_text(), re.MULTILINE)
    files = ("process/test_coming_from.py", "config/test_foreign.py")
    text = "".join((CHECKOUT / "tests" / file).read_text() for file in files)
    names = {f"test_{re.sub(r'[^a-z]+', '_', row.lower())}" for row in rows}

    assert len(names) == len(rows) > 30
    assert names <= set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))


def test_the_readme_is_short() -> None:
    assert len((CHECKOUT / "README.md").read_text().splitlines()) <= 180
