"""For every threat, `SECURITY.md` names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
TEXT = (CHECKOUT / "SECURITY.md").read_text()
TABLE = TEXT.partition("| threat | defence | tests |\n")[2].partition("\n\n")[0]
THREATS = re.findall(r"^\| (?!---)(.+?) \| (.+) \| (.+) \|$", TABLE, re.MULTILINE)


@pytest.mark.parametrize("threat, _, tests", THREATS, ids=[threat[:60] for threat, *_ in THREATS])
def test_each_threat_names_tests_that_exist(threat: str, _: str, tests: str) -> None:
    named = re.findall(r"`([^`]+)::(\w+)`", tests)

    assert named, threat
    for file, name in named:
        assert name in functions_of(file), file


def functions_of(file: str) -> set[str]:
    """Return the functions in all test files of this name below `tests/`."""
    trees = [ast.parse(path.read_text()) for path in (CHECKOUT / "tests").rglob(file)]
    kinds = ast.FunctionDef, ast.AsyncFunctionDef
    return {node.name for tree in trees for node in tree.body if isinstance(node, kinds)}


def test_the_table_is_found() -> None:
    assert len(THREATS) > 15
