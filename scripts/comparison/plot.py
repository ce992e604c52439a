"""An SVG chart of the requests per second of each contestant, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from scripts.comparison.contestants import Contestant
from scripts.comparison.results import Results

WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 880, 320, 30, 64, 30, 40  # pixels
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")  # safe for colour-blind readers
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.axis{fill:#666}.grid{stroke:#ddd}"
    ".span{stroke:#bbb;stroke-width:2}.ours{font-weight:600}.title{font-size:15px}"
)


TITLE = "Requests per second (medians)"


def svg(contestants: Sequence[Contestant], results: Results, connections: Sequence[int]) -> str:
    """Return the chart: a row for each contestant that answered, the fastest at the top."""
    return _drawing([_chart(TITLE, contestants, results, connections)])


def panels(
    charts: Mapping[str, Results], contestants: Sequence[Contestant], connections: Sequence[int]
) -> str:
    """Return a drawing with a chart for each of the results, by its title."""
    return _drawing(
        [_chart(title, contestants, each, connections) for title, each in charts.items()]
    )


class Chart(NamedTuple):
    """The lines of a chart, and its height in pixels."""

    lines: list[str]
    height: int


def _drawing(charts: Sequence[Chart]) -> str:
    height = sum(chart.height for chart in charts)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'role="img" aria-label="Requests per second of each server">',
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
    ]
    top = 0
    for chart in charts:
        lines += [f'<g transform="translate(0,{top})">', *chart.lines, "</g>"]
        top += chart.height
    return "\n".join([*lines, "</svg>\n"])


def _chart(
    title: str, contestants: Sequence[Contestant], results: Results, connections: Sequence[int]
) -> Chart:
    rates = {each.name: _rates(each, results, connections) for each in contestants}
    shown = sorted(
        (each for each in contestants if rates[each.name]),
        key=lambda each: -max(rates[each.name].values()),
    )
    scale = Scale([rate for each in shown for rate in rates[each.name].values()])
    bottom = TOP + ROW * len(shown)
    lines = [
        f'<text class="title" x="16" y="28">{escape(title)}</text>',
        *_legend(connections),
        *_grid(scale, bottom),
    ]
    for index, each in enumerate(shown):
        lines += _row(each, rates[each.name], connections, scale, TOP + ROW * (index + 0.5))
    return Chart(lines, bottom + BOTTOM)


class Scale:
    """Maps requests per second to pixels, from one power of ten to another."""

    def __init__(self, rates: Sequence[float]) -> None:
        self.low = math.floor(math.log10(min(rates, default=1)))
        self.high = max(math.ceil(math.log10(max(rates, default=1))), self.low + 1)

    def x(self, rate: float) -> float:
        """Return the pixel of a rate above 0."""
        share = (math.log10(rate) - self.low) / (self.high - self.low)
        return round(LEFT + (WIDTH - LEFT - RIGHT) * share, 1)


def _rates(each: Contestant, results: Results, connections: Sequence[int]) -> dict[int, float]:
    """Return the rates above 0; a logarithmic scale has no 0."""
    known = {number: results.rate(each.name, number) for number in connections}
    return {number: rate for number, rate in known.items() if rate}


def _legend(connections: Sequence[int]) -> Iterator[str]:
    for index, number in enumerate(connections):
        x = LEFT + 130 * index
        noun = "connection" if number == 1 else "connections"
        yield f'<circle cx="{x}" cy="24" r="5" fill="{_colour(index)}"/>'
        yield f'<text x="{x + 10}" y="28">{number:,} {noun}</text>'


def _grid(scale: Scale, bottom: float) -> Iterator[str]:
    for power in range(scale.low, scale.high + 1):
        x = scale.x(10.0**power)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{bottom}"/>'
        yield (
            f'<text class="axis" x="{x}" y="{bottom + 18}" text-anchor="middle">'
            f"{10.0**power:,.10g}</text>"
        )


def _row(
    each: Contestant, rates: Mapping[int, float], connections: Sequence[int], scale: Scale, y: float
) -> Iterator[str]:
    ours = ' class="ours"' if each.kind == "ours" else ""
    yield f'<text{ours} x="16" y="{y + 4}">{escape(each.title)}</text>'
    left, right = scale.x(min(rates.values())), scale.x(max(rates.values()))
    yield f'<line class="span" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>'
    for index, number in enumerate(connections):
        if number in rates:
            x = scale.x(rates[number])
            yield f'<circle cx="{x}" cy="{y}" r="5" fill="{_colour(index)}"/>'


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
