"""The parameters of the Open Inference Protocol."""

from __future__ import annotations

import math
from typing import Any, Final

from server.errors import InvalidRequest

_UNSUPPORTED: Final = ("sequence_id", "shared_memory_region", "classification")


def check_supported(parameters: dict[str, Any], *, allowed: str = "") -> None:
    """Raise InvalidRequest for parameters that would change the meaning of an answer."""
    for name in _UNSUPPORTED:
        if name != allowed and parameters.get(name):
            raise InvalidRequest(f"The parameter {name} is not supported.")


def flag(parameters: dict[str, Any], name: str, *, default: bool = False) -> bool:
    """Return a parameter that is true or false; raises InvalidRequest."""
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"The parameter {name} must be true or false.")
    return value


def timeout_ms(parameters: dict[str, Any]) -> int | None:
    """Return how long the client waits; `timeout` is in microseconds, as in Triton."""
    value = parameters.get("timeout")
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest("The parameter timeout must be a whole number of microseconds.")
    return max(1, math.ceil(value / 1000))
