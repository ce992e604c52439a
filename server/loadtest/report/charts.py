"""Charts as inline SVG: no external resources, and the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count
from typing import NamedTuple

WIDTH, HEIGHT = 400, 240  # pixels
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 16, 38
COLOURS = 6  # classes c0 to c5 in report.css
MOST_TICKS = 6
MOST_LABELS = 8  # below the bars
ROOM = 0.06  # free share of an axis beyond the largest value

Point = tuple[float, float | None]


class Line(NamedTuple):
    """A line through points, sorted by x; a y of None, or off a logarithmic axis, leaves a gap."""

    name: str
    points: Sequence[Point]
    colour: int
    dashed: bool = False
    dots: bool = True


class Level(NamedTuple):
    """A value of y or x, drawn as a line across the chart."""

    value: float
    name: str
    colour: int | None = None


@dataclass(frozen=True)
class LineChart:
    """Lines with a legend; logarithmic axes start at the smallest value, linear ones at 0.

    Attributes:
        levels: values of y to mark.
        marks: values of x to mark.
        spans: ranges of x with a label each, shaded alternately.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    levels: Sequence[Level] = ()
    marks: Sequence[Level] = ()
    spans: Sequence[tuple[float, float, str]] = ()

    def figure(self) -> str:
        """Return the chart as HTML."""
        xs = [x for line in self.lines for x, y in line.points if y is not None]
        ys = [y for line in self.lines for _, y in line.points if y is not None]
        across = Axis([*xs, *(mark.value for mark in self.marks)], LEFT, WIDTH - RIGHT, self.log_x)
        up = Axis([*ys, *(each.value for each in self.levels)], HEIGHT - BOTTOM, TOP, self.log_y)
        body = [
            *_spans(self.spans, across),
            *_grid(across, up),
            *_axis_names(self.x, self.y),
            *(part for level in self.levels for part in _level(level, up)),
            *(part for mark in self.marks for part in _mark(mark, across)),
            *(part for line in self.lines for part in _line(line, across, up)),
        ]
        keys = [(line.name, line.colour, line.dashed) for line in self.lines]
        return _figure(self.title, keys, body)


@dataclass(frozen=True)
class BarChart:
    """Bars over words (of one or two lines); several series are stacked or side by side."""

    title: str
    x: str
    y: str
    words: Sequence[str]
    series: Sequence[tuple[str, int, Sequence[float]]]  # name, colour, a value for each word
    stacked: bool = False

    def figure(self) -> str:
        """Return the chart as HTML."""
        columns = list(zip(*(values for _, _, values in self.series), strict=True))
        tops = [sum(each) if self.stacked else max(each, default=0) for each in columns]
        up = Axis(tops, HEIGHT - BOTTOM, TOP, False)
        body = [*_rows(up), *_axis_names(self.x, self.y), *self._words(), *self._bars(up)]
        return _figure(self.title, [(name, colour, False) for name, colour, _ in self.series], body)

    @property
    def _width(self) -> float:
        return (WIDTH - LEFT - RIGHT) / max(1, len(self.words))

    def _words(self) -> Iterator[str]:
        every = math.ceil(len(self.words) / MOST_LABELS)
        for number, word in enumerate(self.words):
            if number % every == 0:
                x = LEFT + self._width * (number + 0.5)
                for line, part in enumerate(word.split("\n")):
                    yield _text(x, HEIGHT - BOTTOM + 14 + 13 * line, part, "middle")

    def _bars(self, up: Axis) -> Iterator[str]:
        share = self._width * 0.8 / (1 if self.stacked else max(1, len(self.series)))
        below = [0.0] * len(self.words)
        for place, (name, colour, values) in enumerate(self.series):
            for number, value in enumerate(values):
                x = LEFT + self._width * (number + 0.1) + (0 if self.stacked else share * place)
                top = up.at(below[number] + value)
                height = up.at(below[number]) - top
                about = f"{self.words[number]}, {name}: {compact(value)}".replace("\n", " ")
                if height > 0:
                    yield (
                        f'<rect class="fill c{colour % COLOURS}" x="{x:.1f}" y="{top:.1f}" '
                        f'width="{share:.1f}" height="{height:.1f}">'
                        f"<title>{escape(about)}</title></rect>"
                    )
                below[number] += value if self.stacked else 0


class Axis:
    """Maps values to pixels between `begin` and `end`."""

    def __init__(self, values: Iterable[float], begin: float, end: float, log: bool) -> None:
        known = [value for value in values if not log or value > 0]
        self._begin, self._end, self._log = begin, end, log
        self.high = max(known, default=1.0) or 1.0
        self.low = min(known, default=self.high) if log else 0.0
        if log:
            span = max(math.log10(self.high / self.low), 0.3) * ROOM
            self.low, self.high = self.low * 10**-span, self.high * 10**span
        else:
            self.high *= 1 + ROOM

    def holds(self, value: float) -> bool:
        """Return whether a value can be drawn: a logarithmic axis has no 0."""
        return value > 0 or not self._log

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high = self.low, self.high
        if self._log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self._begin + (self._end - self._begin) * (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """Return a few round values for the labels of the axis."""
        return self._powers() if self._log else self._steps()

    def _powers(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        found: list[float] = []
        for digits in ((1, 2, 5), (1, 3), (1,)):
            values = [d * 10.0**power for power in range(first, last + 1) for d in digits]
            found = [value for value in values if self.low <= value <= self.high]
            if len(found) <= MOST_TICKS:
                break
        every = math.ceil(len(found) / MOST_TICKS)
        return found[::every] if len(found) > 1 else self._steps()

    def _steps(self) -> list[float]:
        rough = (self.high - self.low) / (MOST_TICKS - 1)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough)
        start = math.ceil(self.low / step)
        values = (number * step for number in count(start))
        return list(_until(values, self.high))


def _until(values: Iterator[float], high: float) -> Iterator[float]:
    for value in values:
        if value > high:
            return
        yield value


def compact(value: float) -> str:
    """Return a number as a label has room for: 0.25, 31.6, 1,200, 12.5k, 3M."""
    for least, size, letter in ((1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{three_digits(value / size):g}{letter}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{three_digits(value):g}"


def three_digits(value: float) -> float:
    """Round to three significant digits."""
    return float(f"{value:.3g}")


# The parts of a chart.


def _figure(title: str, keys: Iterable[tuple[str, int, bool]], body: Iterable[str]) -> str:
    legend = "".join(
        f'<span class="name"><i class="key c{colour % COLOURS}{" dashed" if dashed else ""}"></i>'
        f"{escape(name)}</span>"
        for name, colour, dashed in keys
    )
    return (
        f"<figure><figcaption><b>{escape(title)}</b>"
        f'<span class="legend">{legend}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(body)}</svg></figure>"
    )


def _text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def _axis_names(x: str, y: str) -> Iterator[str]:
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x, "middle", ' class="axis"')
    yield _text(4, TOP - 5, y, "start", ' class="axis"')


def _rows(up: Axis) -> Iterator[str]:
    for value in up.ticks():
        y = up.at(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 5, y + 4, compact(value), "end")


def _grid(across: Axis, up: Axis) -> Iterator[str]:
    yield from _rows(up)
    for value in across.ticks():
        x = across.at(value)
        yield (f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        yield _text(x, HEIGHT - BOTTOM + 14, compact(value), "middle")


def _spans(spans: Sequence[tuple[float, float, str]], across: Axis) -> Iterator[str]:
    for number, (begin, end, word) in enumerate(spans):
        x, right = across.at(begin), across.at(end)
        yield (
            f'<rect class="span s{number % 2}" x="{x:.1f}" y="{TOP}" width="{right - x:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"><title>{escape(word)}</title></rect>'
        )


def _level(level: Level, up: Axis) -> Iterator[str]:
    y = up.at(level.value)
    yield f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    yield _text(LEFT + 5, y - 4, level.name, "start", ' class="level"')


def _mark(mark: Level, across: Axis) -> Iterator[str]:
    x = across.at(mark.value)
    shade = "" if mark.colour is None else f" c{mark.colour % COLOURS}"
    yield (
        f'<line class="mark{shade}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}">'
        f"<title>{escape(mark.name)}</title></line>"
    )
    if mark.colour is None:  # several marks are told apart by their colours
        yield _text(x - 4, TOP + 9, "knee", "end", ' class="level"')


def _line(line: Line, across: Axis, up: Axis) -> Iterator[str]:
    shade = f"c{line.colour % COLOURS}"
    for piece in _pieces(line.points, across, up):
        places = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in piece)
        dashes = " dashed" if line.dashed else ""
        yield f'<polyline class="line {shade}{dashes}" points="{places}"/>'
        for x, y in piece if line.dots else ():
            about = f"{line.name}: {compact(y)} at {compact(x)}"
            yield (
                f'<circle class="fill {shade}" cx="{across.at(x):.1f}" cy="{up.at(y):.1f}" r="2.4">'
                f"<title>{escape(about)}</title></circle>"
            )


def _pieces(points: Sequence[Point], across: Axis, up: Axis) -> Iterator[list[tuple[float, float]]]:
    """Split a line at its gaps."""
    piece: list[tuple[float, float]] = []
    for x, y in points:
        if y is not None and across.holds(x) and up.holds(y):
            piece.append((x, y))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece
