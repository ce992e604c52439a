"""The table of `docs/reliability.md` tells of tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
TABLE = CHECKOUT / "docs" / "reliability.md"
CELLS = 5
COMMANDS = ("make test", "make torture", "make torture-full", "make coverage", "make mutation")


def rows() -> list[list[str]]:
    """Return the cells of each row of the table of cases."""
    _, _, table = TABLE.read_text().partition("| case | expected | seen | command | when |")
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def test_every_row_says_what_was_seen_and_when() -> None:
    assert rows()
    for row in rows():
        assert len(row) == CELLS, row
        assert all(row), row
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", row[-1]), row


def test_every_row_names_a_command_and_a_test_that_there_is() -> None:
    """`make …` and `tests/…py`, with `::` and the beginning of a test's name where one is meant."""
    for case, _, _, command, _ in rows():
        assert any(f"`{each}`" in command for each in COMMANDS), case
        places = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", command)
        assert places, case
        for file, name in places:
            source = (CHECKOUT / file).read_text()
            assert f"def {name}" in source if name else source, command
