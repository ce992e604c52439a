"""`SECURITY.md` names, for every threat, tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
TEXT = (CHECKOUT / "SECURITY.md").read_text()
THREATS = re.findall(r"^\| (?!threat \|)(?!---)(.+?) \| (.+) \| (.+) \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("threat, _, tests", THREATS, ids=[threat[:60] for threat, *_ in THREATS])
def test_each_threat_is_held_off_by_tests_that_exist(threat: str, _: str, tests: str) -> None:
    named = re.findall(r"`([^`]+)::(\w+)`", tests)

    assert named, threat
    for file, name in named:
        tree = ast.parse((CHECKOUT / file).read_text())
        functions = ast.FunctionDef, ast.AsyncFunctionDef
        assert name in {node.name for node in tree.body if isinstance(node, functions)}, file


def test_the_table_is_there() -> None:
    assert len(THREATS) > 15
