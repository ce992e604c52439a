"""JSON Schema: a fast verdict on every document, an explanation of the few that are refused."""

from __future__ import annotations

from itertools import islice
from typing import Any

import jsonschema
import jsonschema_rs

from server.errors import Violation

Schema = dict[str, Any]

MAX_VIOLATIONS = 8
MAX_DETAIL = 160
SMALL_BODY = 4096


class Validator:
    """Checks documents against one JSON Schema (2020-12).

    The verdict is that of jsonschema-rs. jsonschema, the reference, checks the schema itself and
    explains refusals of small documents; it is too slow for large ones, of which jsonschema-rs
    tells the first violation.
    """

    def __init__(self, schema: Schema) -> None:
        """Compile `schema`; raises jsonschema.SchemaError when it is none."""
        jsonschema.Draft202012Validator.check_schema(schema)
        self._reference = jsonschema.Draft202012Validator(schema)
        self._fast = jsonschema_rs.Draft202012Validator(schema, mask="the value")

    def accepts(self, document: Any) -> bool:
        """Tell whether `document` is valid."""
        return self._fast.is_valid(document)

    def explain(self, document: Any, size: int) -> list[Violation]:
        """Say where a refused document of `size` bytes breaks the schema: at most 8 places."""
        try:
            if size > SMALL_BODY:
                return self._first(document)
            errors = islice(self._reference.iter_errors(document), MAX_VIOLATIONS)
            return [violation(error.absolute_path, error.message) for error in errors]
        except (RecursionError, ValueError):  # so deep that not even a message can be made of it
            return [Violation("", "nested too deep")]

    def _first(self, document: Any) -> list[Violation]:
        try:
            self._fast.validate(document)
        except jsonschema_rs.ValidationError as error:
            return [violation(error.instance_path, error.message)]
        return []


def violation(path: Any, message: str) -> Violation:
    """Make a Violation of a path of keys and indices; long messages are cut."""
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    pointer = "".join(f"/{step}" for step in escaped)
    return Violation(shorten(pointer), shorten(message))


def shorten(text: str) -> str:
    """Cut `text` to what a client can use."""
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
