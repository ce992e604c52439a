"""Runs `compare.py --models`, and writes comparison-models.md, .svg and .json."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.comparison.contestants import Contestant
from scripts.comparison.markdown import Setup
from scripts.comparison.networks.page import Measured, missing_lines, overview, page
from scripts.comparison.networks.prepare import NETWORKS
from scripts.comparison.networks.rounds import NetworkRounds
from scripts.comparison.plot import panels
from scripts.comparison.results import Results
from scripts.comparison.venvs import Missing


def compare_networks(
    names: Sequence[str],
    contestants: Sequence[Contestant],
    setup: Setup,
    out: Path,
    tell: Callable[[str], None],
) -> int:
    """Compare, and write after each network; return 1 if this server failed with any."""
    rounds = NetworkRounds(setup.connections, setup.seconds, setup.rounds, tell)
    networks: dict[str, Results] = {}
    failed: dict[str, str] = {}
    measured = Measured(networks, rounds.engines, failed)
    for name in names or NETWORKS:
        with tempfile.TemporaryDirectory(prefix="compare-") as folder:
            try:
                networks[name] = rounds.run(name, contestants, Path(folder))
            except Missing as error:
                failed[name] = str(error)
        write(out, contestants, measured, setup)
    _print(contestants, measured, setup)
    missing = {each for results in networks.values() for each in results.missing}
    ours = {each.name for each in contestants if each.kind == "ours"}
    return int(bool(failed or missing & ours))


def write(out: Path, contestants: Sequence[Contestant], measured: Measured, setup: Setup) -> None:
    """Write the three files."""
    out.mkdir(parents=True, exist_ok=True)
    today = date.today().isoformat()
    (out / "comparison-models.md").write_text(page(contestants, measured, setup, today))
    charts = {NETWORKS[key]: results for key, results in measured.networks.items()}
    drawing = panels(charts, contestants, setup.connections)
    (out / "comparison-models.svg").write_text(drawing)
    runs = ",\n".join(
        json.dumps({"network": key, **run})
        for key, results in measured.networks.items()
        for run in results.as_list()
    )  # one per line, for readable diffs
    rest = {
        "machine": dict(setup.machine),
        "engines": dict(measured.engines),
        "missing": list(missing_lines(contestants, measured)),
    }
    text = f'{json.dumps(rest, indent=1)[:-2]},\n "runs": [\n{runs}\n]}}\n'
    (out / "comparison-models.json").write_text(text)


def _print(contestants: Sequence[Contestant], measured: Measured, setup: Setup) -> None:
    console = Console()
    for connections in setup.connections:
        head, *rows = overview(contestants, measured, connections)
        title = f"requests per second, {connections} connections"
        shown = Table(title=title, title_justify="left")
        for name in head:
            shown.add_column(name, justify="left" if name == head[0] else "right")
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    for line in missing_lines(contestants, measured):
        console.print(f"MISSING {line}", style="red", markup=False, soft_wrap=True)
