"""JSON Schema: a fast verdict on every document, an explanation of invalid ones."""

from __future__ import annotations

from itertools import islice
from typing import Any

import jsonschema
import jsonschema_rs

from server.errors import Violation

Schema = dict[str, Any]

MAX_VIOLATIONS = 8
MAX_DETAIL = 160
SMALL_BODY = 1024  # jsonschema takes 3 µs a byte in the worst case


class Validator:
    """Checks documents against one JSON Schema (2020-12).

    jsonschema-rs gives the verdict. jsonschema, the reference implementation, explains what is
    wrong with small documents. It is too slow for large ones; of these only the first violation is
    reported.
    """

    def __init__(self, schema: Schema) -> None:
        """Compile `schema`; raises jsonschema_rs.ValidationError if it is no valid schema."""
        self._schema = schema
        self._reference = jsonschema.Draft202012Validator(schema)
        self._fast = jsonschema_rs.Draft202012Validator(schema)

    def accepts(self, document: Any) -> bool:
        """Return whether `document` is valid."""
        return self._fast.is_valid(document)

    def explain(self, document: Any, size: int) -> list[Violation]:
        """Return up to 8 violations in an invalid document of `size` bytes."""
        try:
            if size > SMALL_BODY:
                return first_violation(document, self._schema)
            errors = islice(self._reference.iter_errors(document), MAX_VIOLATIONS)
            return [violation(error.absolute_path, error.message) for error in errors]
        except (RecursionError, ValueError):  # nested so deep that making the message fails
            return [Violation("", "nested too deep")]


def first_violation(document: Any, schema: Schema) -> list[Violation]:
    """Return the first violation of a schema that has only objects, arrays and types.

    jsonschema-rs copies what it explains, which takes far longer than its verdict. So it gets only
    the outermost level of the invalid part.
    """
    path: list[str | int] = []
    while True:
        outside = {**schema, "items": True}
        outside["properties"] = dict.fromkeys(schema.get("properties", ()), True)
        try:
            jsonschema_rs.validate(outside, _outside(document, schema), mask="the value")
        except jsonschema_rs.ValidationError as error:
            return [violation(path, error.message)]
        step = _step_inside(document, schema)
        if step is None:
            return []
        key, document, schema = step
        path.append(key)


def _outside(node: Any, schema: Schema) -> Any:
    """Return a small stand-in for a part of a document, with the same errors on its first level."""
    if isinstance(node, list):
        enough = max(schema.get("maxItems", 0), schema.get("minItems", 0)) + 1
        return [None] * min(len(node), enough)
    if isinstance(node, dict):
        known = schema.get("properties", {})
        unknown = islice((key for key in node if key not in known), MAX_VIOLATIONS)
        return dict.fromkeys([*(key for key in known if key in node), *unknown])
    return "" if isinstance(node, str) else node


def _step_inside(node: Any, schema: Schema) -> tuple[str | int, Any, Schema] | None:
    """Return the first invalid part: its key, the part, its schema."""
    if isinstance(node, list) and "items" in schema:
        index = _first_invalid(node, schema["items"])
        return None if index is None else (index, node[index], schema["items"])
    if isinstance(node, dict):
        for key, part in schema.get("properties", {}).items():
            if key in node and not jsonschema_rs.is_valid(part, node[key]):
                return key, node[key], part
    return None


def _first_invalid(items: list[Any], schema: Schema) -> int | None:
    """Return the index of the first invalid item."""
    all_valid = jsonschema_rs.Draft202012Validator({"items": schema}).is_valid
    if all_valid(items):
        return None
    start, stop = 0, len(items)
    while stop - start > 1:
        middle = (start + stop) // 2
        if all_valid(items[start:middle]):
            start = middle
        else:
            stop = middle
    return start


def violation(path: Any, message: str) -> Violation:
    """Return a Violation at a path of keys and indexes; long messages are shortened."""
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    pointer = "".join(f"/{step}" for step in escaped)
    return Violation(shorten(pointer), shorten(message))


def below(path: Any, violations: list[Violation]) -> list[Violation]:
    """Return violations of a part as violations of the whole document, with the part at `path`."""
    start = violation(path, "").pointer
    return [Violation(shorten(start + each.pointer), each.detail) for each in violations]


def shorten(text: str) -> str:
    """Shorten `text` to MAX_DETAIL characters."""
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
