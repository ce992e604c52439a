"""Redaction of payload lines: hides the values of inputs and outputs with certain names.

A redacted line holds only the inputs and outputs of the model: anything else that a client sent is
dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

import orjson

from model.signature import TensorSpec
from server.dialects.interface import Side
from server.dialects.json_body import LARGE_BODY, gc_paused

# Returns one side of an excerpt (see Dialect) without the values of the tensors with these names.
Redacted = Callable[[Side, bytes, frozenset[str]], bytes]

HIDDEN: Final = "[redacted]"
REDACTED: Final = orjson.dumps(HIDDEN)


def redact_all(_: Side, __: bytes, ___: frozenset[str]) -> bytes:
    """Hide everything, for data of unknown structure."""
    return REDACTED


def redact(
    text: bytes,
    specs: Sequence[TensorSpec],
    names: frozenset[str],
    show: Callable[[Any], Any],
) -> bytes:
    """Return JSON after `show`; only REDACTED if all tensors are hidden, and null stays null.

    A model's only tensor may have no name in the JSON, so `show` could not hide it.
    """
    if text == b"null":
        return text
    if all(spec.name in names for spec in specs):
        return REDACTED
    with gc_paused() if len(text) > LARGE_BODY else nullcontext():
        return orjson.dumps(show(orjson.loads(text)))


def named(
    values: Mapping[str, Any], specs: Sequence[TensorSpec], names: frozenset[str]
) -> dict[str, Any]:
    """Return an object with only the tensors in `specs`; those in `names` are hidden."""
    return {spec.name: HIDDEN if spec.name in names else values[spec.name] for spec in specs}
