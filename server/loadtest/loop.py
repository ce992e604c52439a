"""The event loop of the load test."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_coroutine(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run `coroutine` on uvloop, or on asyncio's loop where uvloop is not available."""
    try:
        import uvloop
    except ImportError:  # there is none for some systems
        return asyncio.run(coroutine)
    return uvloop.run(coroutine)
