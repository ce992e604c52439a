"""The frame and the parts of a report: one HTML file without external resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path

STYLES = (  # a report looks like the pages of the service
    Path(__file__).parents[2] / "static" / "pages.css",
    Path(__file__).with_name("report.css"),
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def document(title: str, body: Iterable[str]) -> str:
    """Return the HTML file."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n"
        f"<main>\n{chr(10).join(body)}\n</main>\n</body>\n</html>\n"
    )


@cache
def _style() -> str:
    return "".join(path.read_text() for path in STYLES)


def section(title: str, *parts: str) -> str:
    """Return a heading and the parts below it."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{chr(10).join(parts)}\n</section>"


def charts(figures: Iterable[str]) -> str:
    """Return charts in as many columns as the window has room for."""
    return f'<div class="charts">\n{chr(10).join(figures)}\n</div>'


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Return the most important numbers, large, each with its label."""
    each = (
        f"<div><b>{escape(value)}</b><span>{escape(words)}</span></div>" for value, words in values
    )
    return f'<div class="tiles">{"".join(each)}</div>'


def facts(title: str, pairs: Mapping[str, str]) -> str:
    """Return a table of names and values, or nothing without pairs."""
    if not pairs:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in pairs.items()
    )
    return f'<div><h2>{escape(title)}</h2><table class="facts">{rows}</table></div>'


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], row_classes: Sequence[str] = ()
) -> str:
    """Return a table: numbers, with row headers in the first column and text in the last."""
    first = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = [
        f'<tr class="{kind}"><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in row[1:])
        + "</tr>"
        for row, kind in zip(rows, row_classes, strict=True)
    ]
    return (
        f'<div class="scroll" tabindex="0"><table class="numbers"><tr>{first}</tr>'
        f"{''.join(lines)}</table></div>"
    )


def cell(value: float | None) -> str:
    """Format a number for a cell of a table; None is a dash."""
    if value is None:
        return "–"
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
