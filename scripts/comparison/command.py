"""The command line of compare.py: options, rounds, and the files that are written."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.comparison.contestants import CONTESTANTS, Contestant
from scripts.comparison.markdown import Setup, overview, page, where_a_peer_wins
from scripts.comparison.networks.command import compare_networks
from scripts.comparison.networks.contestants import CONTESTANTS as NETWORK_CONTESTANTS
from scripts.comparison.networks.prepare import NETWORKS
from scripts.comparison.plot import svg
from scripts.comparison.results import Results
from scripts.comparison.rounds import Rounds
from scripts.comparison.venvs import ROOT
from scripts.comparison.versions import versions
from scripts.comparison.wrk import NOT_INSTALLED, is_installed
from server.loadtest.machine import describe_machine

MODEL = ROOT / "model" / "my_best_model.keras"


def main(argv: Sequence[str], contestants: Sequence[Contestant] = CONTESTANTS) -> int:
    """Compare; return 0 on success, 1 if this server failed, 2 if wrk is missing, 130 on Ctrl-C."""
    parser = _parser(contestants)
    options = parser.parse_args(argv)
    is_of_networks = options.models is not None
    known = NETWORK_CONTESTANTS if is_of_networks else contestants
    if unknown := set(options.only or ()) - {each.name for each in known}:
        names = ", ".join(each.name for each in known)
        parser.error(f"unknown server: {', '.join(sorted(unknown))}; known: {names}")
    if not is_installed():
        print(f"compare: {NOT_INSTALLED}", file=sys.stderr)
        return 2
    chosen = [each for each in known if not options.only or each.name in options.only]
    setup = Setup(
        describe_machine(versions()),
        options.rounds,
        options.seconds,
        options.connections or ([1, 8, 32] if is_of_networks else [1, 64, 256]),
        shlex.join(["python", "scripts/compare.py", *argv]),
    )
    try:
        with _sigterm_exits(), _telling() as tell:
            if is_of_networks:
                return compare_networks(options.models, chosen, setup, options.out, tell)
            return _compare_servers(chosen, setup, options.out, tell)
    except KeyboardInterrupt:
        print("compare: interrupted, nothing more was written", file=sys.stderr)
        return 130


def _compare_servers(
    chosen: Sequence[Contestant], setup: Setup, out: Path, tell: Callable[[str], None]
) -> int:
    if not MODEL.exists():
        subprocess.run([sys.executable, "-m", "model.train"], cwd=ROOT, check=True)
    results = Results()
    Rounds(MODEL, setup.connections, setup.seconds, results, tell).run(chosen, setup.rounds)
    _write(out, chosen, results, setup)
    _print(chosen, results, setup)
    return int(any(each.kind == "ours" and each.name in results.missing for each in chosen))


def _parser(contestants: Sequence[Contestant]) -> argparse.ArgumentParser:
    names = [each.name for each in contestants]
    parser = argparse.ArgumentParser(
        prog="compare.py",
        description="Compare this server with other model servers under the same load, and write "
        "comparison.md, comparison.svg and comparison.json.",
        epilog="Other servers are installed under .peers/ on first use (gigabytes). Exit code 1: "
        "this server failed. 2: wrk is not installed.",
    )
    _add_rounds(parser)
    _add_choices(parser, names)
    return parser


def _add_rounds(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--rounds",
        metavar="N",
        type=_count,
        default=5,
        help="number of rounds; each measures every server once (default: %(default)s)",
    )
    add(
        "--seconds",
        metavar="S",
        type=_count,
        default=5,
        help="duration of each measurement (default: %(default)s)",
    )
    add(
        "--connections",
        metavar="LIST",
        type=_counts,
        help="numbers of concurrent connections to measure with (default: 1,64,256; with --models "
        "1,8,32)",
    )


def _add_choices(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    add = parser.add_argument
    add(
        "--only",
        nargs="+",
        metavar="NAME",
        help=f"measure only these servers (default: all): {', '.join(names)}; with --models "
        f"{', '.join(each.name for each in NETWORK_CONTESTANTS)}",
    )
    add(
        "--models",
        nargs="*",
        metavar="NETWORK",
        choices=NETWORKS,
        help="compare with networks that people serve instead, in comparison-models.md, .svg and "
        f".json (default: all): {', '.join(NETWORKS)}",
    )
    add(
        "--out",
        type=Path,
        default=ROOT / "docs",
        metavar="FOLDER",
        help="folder to write to (default: docs)",
    )


@contextlib.contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows what is being done."""
    console = Console(stderr=True)
    with console.status("") as status:

        def tell(text: str) -> None:
            if console.is_terminal:
                status.update(text)
            else:
                console.print(text, highlight=False, soft_wrap=True)

        yield tell


@contextlib.contextmanager
def _sigterm_exits() -> Iterator[None]:
    """Exit by SystemExit on SIGTERM, so that the servers that were started are stopped."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(folder: Path, chosen: Sequence[Contestant], results: Results, setup: Setup) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.md").write_text(page(chosen, results, setup))
    (folder / "comparison.svg").write_text(svg(chosen, results, setup.connections))
    runs = ",\n".join(
        json.dumps(run) for run in results.as_list()
    )  # one per line, for readable diffs
    rest = json.dumps({"machine": dict(setup.machine), "missing": results.missing}, indent=1)
    (folder / "comparison.json").write_text(f'{rest[:-2]},\n "runs": [\n{runs}\n]}}\n')


def _print(chosen: Sequence[Contestant], results: Results, setup: Setup) -> None:
    console = Console()
    present = [each for each in chosen if results.has(each.name)]
    head, *rows = overview(present, results, setup.connections)
    table = Table(title="requests per second", title_justify="left")
    for name in head:
        table.add_column(name, justify="left" if name == head[0] else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for line in where_a_peer_wins(present, results, setup.connections):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for name, why in results.missing.items():
        console.print(f"MISSING {name}: {why}", style="red", markup=False, soft_wrap=True)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("not a whole number above 0")
    return int(text)


def _counts(text: str) -> list[int]:
    return [_count(each) for each in text.split(",")]
