"""The examples of requests and answers, and what is said where they are too long to show."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from model.signature import TensorSpec
from server.dialects.table import NATIVE, TFSERVING, V2, DialectEntry
from server.openapi import pictures
from server.openapi.commands import piped
from server.serving.loading import MAX_EXAMPLE_BYTES, may_be_shown
from server.serving.served_model import ServedModel

MAX_LISTED = 5  # inputs or outputs in a sentence
SERVER = '"$SERVER"'  # for a shell: the document does not know the address of its server


def bodies_of(model: ServedModel, entry: DialectEntry, side: str) -> dict[str, dict[str, Any]]:
    """Return examples of the requests or answers of a dialect, by their names as components.

    `side` is "request" or "answer". Those that are too long are left out.
    """
    found: dict[str, bytes] = {}
    if entry is NATIVE:
        found = {each.summary: getattr(each, side) for each in model.examples}
    elif side == "request":
        found = batch_of(model, entry)
    shown = {
        "-".join([entry.name, *summary.split(), side]): {
            "summary": summary,
            "value": json.loads(body),
        }
        for summary, body in found.items()
        if body
    }
    return shown | (pictures.examples_of(model, entry) if side == "request" else {})


def all_bodies(model: ServedModel) -> dict[str, dict[str, Any]]:
    """Return the examples of all dialects, by their names as components."""
    return {
        name: example
        for entry in (NATIVE, TFSERVING, V2)
        for side in ("request", "answer")
        for name, example in bodies_of(model, entry, side).items()
    }


def batch_of(model: ServedModel, entry: DialectEntry) -> dict[str, bytes]:
    """Return a request for the largest batch that the model has answered, if it is short enough.

    A model may reject other plausible rows.
    """
    for pair in model.loaded.report.golden[-1:]:
        if may_be_shown(pair.rows):
            summary = "two rows" if len(pair.rows) > 1 else "one row"
            body = model.dialects.by_name[entry.name].request_body(pair.rows)
            return {summary: body} if len(body) <= MAX_EXAMPLE_BYTES else {}
    return {}


def instead_of_examples(model: ServedModel) -> str:
    """Return what the document says of examples that are too long to show; "" if all are shown."""
    signature = model.signature
    if not model.examples or all(each.request and each.answer for each in model.examples):
        return ""
    first = model.examples[0]
    said = [] if first.answer else [too_long("answer", signature.outputs)]
    if not first.request:
        said = [too_long("request", signature.inputs), *said, how_to_make_one(model)]
    command = command_of(model, SERVER)
    return "\n\n".join([*said, *([f"```sh\n{command}\n```"] if command else [])])


def too_long(what: str, specs: Iterable[TensorSpec]) -> str:
    """Return the sentence that stands in place of an example; of many tensors it has the first."""
    texts = [f"{spec!s:.100}" for spec in specs]
    more = [f"and {len(texts) - MAX_LISTED} more"] if len(texts) > MAX_LISTED else []
    return f"The {what} is too long to show ({', '.join([*texts[:MAX_LISTED], *more])})."


def how_to_make_one(model: ServedModel) -> str:
    """Return the sentence that goes with the command for a request that is too long to show."""
    if not model.python_line:
        return "It is also longer than the service accepts (http.max_body_bytes)."
    return "This command makes one, and writes the answer to a file:"


def command_of(model: ServedModel, origin: str, *, needs_key: bool = False) -> str:
    """Return the command for a request that is too long to show; "" if there is none."""
    line = model.python_line
    return piped(line, origin, model.name, needs_key=needs_key) if line else ""
