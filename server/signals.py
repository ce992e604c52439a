"""Signals that the running event loop handles."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def on_signal(number: int, handle: Callable[[int], None]) -> None:
    """Have the running loop call `handle(number)` once for each signal.

    After the loop is closed the signal is ignored until Python ends. The loop's own
    `add_signal_handler` does neither: uvloop 0.23 calls a handler twice if its signal comes while
    the loop handles another one, and a closed loop gives the signal back to the system, which ends
    the process.
    """
    loop = asyncio.get_running_loop()

    def call_on_loop(*_: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(handle, number)

    signal.signal(number, call_on_loop)
