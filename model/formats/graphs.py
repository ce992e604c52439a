"""What the nodes of TensorFlow's graphs refer to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def base_name(reference: str) -> str:
    """Return the node of `^name`, `name:0` or `name:output:0`."""
    return reference.removeprefix("^").partition(":")[0]


def functions_in(node: Any) -> Iterator[str]:
    """Yield the functions that an operation calls: its body, its branches, its condition."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)
