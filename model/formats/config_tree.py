"""The dicts in a Keras config: each in turn, and a copy with some replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def dicts_in(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every dict, the outer ones first; a stack, as configs are nested deep."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += reversed(value.values())
        elif isinstance(value, (list, tuple)):
            waiting += reversed(value)


def rebuilt(value: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
    """Return a copy in which each dict is what `change` returns for it, the inner ones first.

    `change` gets a new dict, whose items have been changed already.
    """
    if isinstance(value, list):
        return [rebuilt(item, change) for item in value]
    if not isinstance(value, dict):
        return value
    return change({key: rebuilt(item, change) for key, item in value.items()})
