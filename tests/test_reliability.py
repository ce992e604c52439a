"""Every case of `docs/reliability.md` has the same parts and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "docs" / "reliability.md"
COMMANDS = ("make test", "make torture", "make torture-full", "make coverage", "make mutation")
SECTION = re.compile(
    r"""
    (?:(?!-\ ).+\n)?          # conditions of the case
    -\ Expected:\ (?P<expected>.+)\n
    -\ Observed\ (?P<when>\d{4}-\d{2}-\d{2}):\ (?P<observed>.+)\n
    -\ Test:\ (?P<command>.+)\n
    """,
    re.VERBOSE,
)


class Case(NamedTuple):
    """One section of the page."""

    title: str
    text: str


NAMED_TEST = re.compile(r"`(test_\w+\.py)(?:::(\w+))?`")


def exists(file: str, name: str) -> bool:
    """Return whether there is a test file, with a test whose name begins so unless `name` is ""."""
    sources = [path.read_text() for path in (CHECKOUT / "tests").rglob(file)]
    return any(f"def {name}" in source for source in sources) if name else bool(sources)


def cases() -> list[Case]:
    """Return the sections with a heading of the third level."""
    sections = re.split(r"^#{2,3} ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    parts = [Case(*section.split("\n", 1)) for section in sections]
    return [Case(title, text.strip() + "\n") for title, text in parts if "Expected:" in text]


def test_every_case_says_what_was_observed_and_when() -> None:
    assert len(cases()) == PAGE.read_text().count("\n### ")
    for case in cases():
        assert SECTION.fullmatch(case.text), case.title


def test_every_case_names_a_command_and_a_test() -> None:
    """Such as `make test` and `test_start.py`, with `::` and the start of a test name if needed."""
    for case in cases():
        section = SECTION.fullmatch(case.text)
        assert section
        command = section["command"]
        assert any(f"`{each}`" in command for each in COMMANDS), case.title
        assert NAMED_TEST.search(command), case.title


def test_every_test_that_the_page_names_exists() -> None:
    missing = [each for each in NAMED_TEST.findall(PAGE.read_text()) if not exists(*each)]
    assert not missing


def test_every_row_of_a_table_of_promises_names_a_test() -> None:
    rows = re.findall(r"^\| .+ \|$", PAGE.read_text().partition("| what |")[2], re.MULTILINE)
    assert len(rows) > 30
    assert not [row for row in rows if not NAMED_TEST.search(row)]
