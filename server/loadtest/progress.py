"""Shows the progress of a load test while it runs."""

from __future__ import annotations

import asyncio

from rich.console import Console
from rich.live import Live
from rich.text import Text

from server.loadtest.load_generator import LoadGenerator
from server.loadtest.tally import Tally

LIVE_EVERY = 0.25  # seconds, on a terminal
LINE_EVERY = 5.0  # seconds, elsewhere


async def show_progress(console: Console, load: LoadGenerator, tally: Tally) -> None:
    """Until cancelled, update one line on a terminal; elsewhere, print a line every few seconds."""
    if not console.is_terminal:
        await _print_lines(console, load, tally)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            before = tally.answers
            await asyncio.sleep(LIVE_EVERY)
            live.update(Text(_line(load, tally, before, LIVE_EVERY)), refresh=True)


async def _print_lines(console: Console, load: LoadGenerator, tally: Tally) -> None:
    while True:
        before = tally.answers
        await asyncio.sleep(LINE_EVERY)
        console.print(Text(_line(load, tally, before, LINE_EVERY)), soft_wrap=True)


def _line(load: LoadGenerator, tally: Tally, before: int, seconds: float) -> str:
    rate = (tally.answers - before) / seconds
    good = len(tally.latencies.get(200, ()))
    return (
        f"{load.elapsed:5.0f} s  {tally.answers:,} answers  {rate:,.0f}/s  "
        f"{tally.answers - good:,} not 200  {tally.lost.total():,} lost  {tally.wrongs:,} wrong  "
        f"{load.in_flight:,} in flight"
    )
