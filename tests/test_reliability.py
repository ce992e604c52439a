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


def cases() -> list[Case]:
    """Return the sections with a heading of the third level."""
    sections = re.split(r"^#{2,3} ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    parts = [Case(*section.split("\n", 1)) for section in sections]
    return [Case(title, text.strip() + "\n") for title, text in parts if "Expected:" in text]


def test_every_case_says_what_was_observed_and_when() -> None:
    assert len(cases()) == PAGE.read_text().count("\n### ")
    for case in cases():
        assert SECTION.fullmatch(case.text), case.title


def test_every_case_names_a_command_and_a_test_that_exists() -> None:
    """Such as `make test` and `test_start.py`, with `::` and the start of a test name if needed."""
    for case in cases():
        section = SECTION.fullmatch(case.text)
        assert section
        command = section["command"]
        assert any(f"`{each}`" in command for each in COMMANDS), case.title
        places = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", command)
        assert places, case.title
        for file, name in places:
            sources = [path.read_text() for path in (CHECKOUT / "tests").rglob(file)]
            assert any(f"def {name}" in source for source in sources) if name else sources, command
