"""What payload lines do not show: the values of inputs and outputs with certain names.

Nothing is left in a redacted line but what is known by its name: what a client sends beside its
inputs is not written either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

import orjson

from model.signature import TensorSpec
from server.dialects.interface import Side
from server.dialects.json_body import LARGE_BODY, gc_paused

# Returns one side of an excerpt (see Dialect) without the values of what is called in the names.
Redacted = Callable[[Side, bytes, frozenset[str]], bytes]

HIDDEN: Final = "[redacted]"
REDACTED: Final = orjson.dumps(HIDDEN)


def redact_all(_: Side, __: bytes, ___: frozenset[str]) -> bytes:
    """Show nothing, where nobody knows what is what."""
    return REDACTED


def redact(
    text: bytes,
    specs: Sequence[TensorSpec],
    names: frozenset[str],
    show: Callable[[Any], Any],
) -> bytes:
    """Return JSON as `show` leaves it, or nothing of it where all its tensors are hidden.

    So values without a name, which only a lone tensor has, never get to `show` when they are to be
    hidden. An excerpt that is null already stays so.
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
    """Return an object with these tensors alone, those that are hidden without their values."""
    return {spec.name: HIDDEN if spec.name in names else values[spec.name] for spec in specs}
