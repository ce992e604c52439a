"""Compare the speed of this checkout with an earlier commit of it, interleaved; see `--help`."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.comparison.command import MODEL
from scripts.comparison.venvs import ROOT
from scripts.comparison.wrk import NOT_INSTALLED, Measurement, is_installed, measure
from scripts.measurements.serving import Server, serving

BODY = '{"data": [10]}'


def main(argv: Sequence[str]) -> int:
    """Print a table of both versions; return 2 if wrk is missing, else 0."""
    options = _parser().parse_args(argv)
    if not is_installed():
        print(f"compare_versions: {NOT_INSTALLED}", file=sys.stderr)
        return 2
    flags = ["--logging.level", "warning"]
    with (
        checkout(options.revision) as before,
        serving(options.model, *flags, folder=before, core=options.core) as old,
        serving(options.model, *flags, core=options.core) as new,
    ):
        print("connections | before, requests/s | now | now / before | p50 ms | p99 ms")
        for connections in options.connections:
            pairs = [
                run_both(old, new, connections, options.seconds) for _ in range(options.rounds)
            ]
            print(row(connections, pairs), flush=True)
    return 0


@contextlib.contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Give a folder with the files of a commit."""
    with tempfile.TemporaryDirectory(prefix="before-") as folder:
        archive = subprocess.run(  # noqa: S603  # a revision that the user names
            ["git", "archive", revision],  # noqa: S607  # the user's own git
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        command = ["tar", "-x", "-C", folder]
        subprocess.run(command, input=archive, check=True)  # noqa: S603  # our own files
        yield Path(folder)


def run_both(
    old: Server, new: Server, connections: int, seconds: float
) -> tuple[Measurement, Measurement]:
    """Measure both, one after the other."""
    return (
        measure(old.url, BODY, connections, seconds),
        measure(new.url, BODY, connections, seconds),
    )


def row(connections: int, pairs: Sequence[tuple[Measurement, Measurement]]) -> str:
    """Return a line of the table: medians over the rounds, that of the ratio pair by pair."""
    before, now = (median(each.rate for each in column) for column in zip(*pairs, strict=True))
    ratio = median(new.rate / old.rate for old, new in pairs)
    p50 = " → ".join(f"{median(p[side].p50_ms or 0 for p in pairs):.2f}" for side in (0, 1))
    p99 = " → ".join(f"{median(p[side].p99_ms or 0 for p in pairs):.2f}" for side in (0, 1))
    bad = sum(each.rejected + each.socket_errors for pair in pairs for each in pair)
    errors = f" ({bad} errors)" if bad else ""
    return f"{connections} | {before:,.0f} | {now:,.0f} | {ratio:.3f} | {p50} | {p99}{errors}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compare_versions.py",
        description="Serve a model with this checkout and with an earlier commit, and compare them "
        "under the same load. Rounds are interleaved, because the speed of a machine varies.",
        epilog="Exit code 2: wrk is not installed.",
    )
    add = parser.add_argument
    add("revision", metavar="REVISION", help="the earlier commit, as git knows it")
    add("--model", type=Path, metavar="FILE", default=MODEL, help="the model (the example model)")
    add("--connections", type=int, nargs="+", metavar="N", default=[1, 64, 256], help="%(default)s")
    add("--rounds", type=int, metavar="N", default=5, help="runs of each (%(default)s)")
    add("--seconds", type=int, metavar="S", default=2, help="duration of a run (%(default)s)")
    add("--core", metavar="N", help="keep both servers on this core (default: all cores)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
