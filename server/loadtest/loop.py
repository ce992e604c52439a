"""The event loop that load is put on from."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_coroutine(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run it on the fastest loop that there is."""
    try:
        import uvloop
    except ImportError:  # it does not exist for every system
        return asyncio.run(coroutine)
    return uvloop.run(coroutine)
