"""Finds in the code the messages of refusals, without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
FILES = [
    *sorted(CHECKOUT.glob("model/formats/*.py")),
    *(CHECKOUT / "model" / "process" / f"{name}.py" for name in ("loader", "prepare", "trials")),
    CHECKOUT / "server" / "serving" / "versions.py",
]
# What is called with the cause of a refusal, and as which argument.
REFUSES = {
    "ModelError": 1,
    "NotTraceable": 1,
    "NotServable": 0,
    "ValueError": 0,
    "_error": 0,
    "_refused": 0,
}
CAUSE = "why"  # the variable for a cause that the advice is added to later


def causes() -> set[str]:
    """Return the causes that refusals begin with; `…` is what varies."""
    return {_cause(text) for file in FILES for text in _texts(ast.parse(file.read_text("utf-8")))}


def is_in(cause: str, row: str) -> bool:
    """Return whether a row of the table begins with a cause."""
    return re.match(re.escape(cause).replace("…", ".*"), row) is not None


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name_of(node.func) in REFUSES:
            yield from _text(node.args[REFUSES[_name_of(node.func)]])
        elif isinstance(node, ast.Assign | ast.Return) and node.value is not None:
            is_cause = isinstance(node, ast.Assign) and _name_of(node.targets[0]) == CAUSE
            yield from (text for text in _text(node.value) if is_cause or "; " in text)


def _name_of(node: ast.expr) -> str:
    return getattr(node, "id", getattr(node, "attr", ""))


def _text(node: ast.expr) -> Iterator[str]:
    """Yield what a string of the code says, unless it begins with a cause from elsewhere."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    if isinstance(parts[0], ast.FormattedValue) and _name_of(parts[0].value) == CAUSE:
        return
    if isinstance(node, ast.JoinedStr | ast.Constant):
        pieces = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
        text = re.sub("…+", "…", "".join(pieces).replace("{}", "…"))
        if _has_words(text):
            yield text


def _cause(text: str) -> str:
    """Return a message without its advice, unless that alone has words."""
    cause = text.partition("; ")[0]
    return cause if _has_words(cause) else text


def _has_words(text: str) -> bool:
    return any(map(str.isalpha, text))
