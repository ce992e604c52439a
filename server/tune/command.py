"""The command line of tune: measure the model, test settings under load, recommend some."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from model.engines.choose import TENSORFLOW
from model.formats.files import ModelError
from server.config.program import program
from server.loadtest.arguments import count, positive
from server.loadtest.knee import Rates, significant
from server.loadtest.machine import cores, describe_machine, load_average
from server.loadtest.payload import PayloadError
from server.loadtest.sweep_result import check_writable
from server.loadtest.target_server import UnusableServer
from server.serving.client import LoadRejected, ProcessEnded
from server.serving.engines import CANDIDATES
from server.serving.process_start import COMMAND
from server.tune.candidates import (
    Candidate,
    candidates,
    longest_call,
    of_engines,
    of_processes,
)
from server.tune.child import SERVER, CannotServe
from server.tune.engines import EngineMeasurements, Measured
from server.tune.page import Findings, tuning_page
from server.tune.settings import settings_yaml
from server.tune.trials import Trials, UnderLoad

P99_HELP = "objective: 99 %% of the requests answered within N milliseconds (default: %(default)g)"
OUT_HELP = "settings file to write, for --config (default: %(default)s)"
REPORT_HELP = "HTML report to write (default: next to the settings file, as .html)"
ROUNDS_HELP = "number of rounds; each tests all settings once (default: %(default)s)"
TESTS = ("engines", "processes", "batching")
TEST_HELP = "what to test, a list of engines, processes and batching (default: all)"
RATE_HELP = "highest rate, in requests per second (default: %(default)g)"


class CannotTune(Exception):
    """Tuning cannot start, or its result cannot be written; the message is one line."""


CANNOT_BEGIN = (
    *(CannotTune, CannotServe, LoadRejected, ModelError),
    *(PayloadError, ProcessEnded, UnusableServer),
)


def main(
    argv: Sequence[str],
    model_process: Sequence[str] = COMMAND,
    command: Sequence[str] = SERVER,
) -> int:
    """Tune; return 0 on success, 1 if no settings met the objective, 2 if it could not start.

    `model_process` starts what the model is measured in, `command` the server.
    """
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _end)
    try:
        return _run(options, argv, model_process, command)
    except CANNOT_BEGIN as error:
        print(f"tune: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _end(number: int, _: object) -> NoReturn:
    """Exit by SystemExit, so that the server that was started is stopped."""
    sys.exit(128 + number)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"tune: {message}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{program()} tune",
        description="Measure a model on each engine, test engines, processes and batching settings "
        "under load, and recommend the best.",
        epilog="Exit code 1: no settings met the objective. 2: tuning could not start.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="model file, or folder with its versions")
    add("--p99-ms", metavar="N", type=positive, default=50.0, help=P99_HELP)
    add("--out", type=Path, metavar="FILE", default=Path("tuned.yaml"), help=OUT_HELP)
    add("--report", type=Path, metavar="FILE", help=REPORT_HELP)
    add(
        "--rows", metavar="N", type=count, default=1, help="rows per request (default: %(default)s)"
    )
    add("--rounds", metavar="N", type=count, default=2, help=ROUNDS_HELP)
    add(
        "--step-seconds",
        metavar="S",
        type=positive,
        default=2.0,
        help="seconds at each rate (default: %(default)g)",
    )
    add("--test", metavar="LIST", type=_tests, default=TESTS, help=TEST_HELP)
    add("--max-rate", metavar="N", type=positive, default=Rates.most, help=RATE_HELP)
    return parser


def _tests(text: str) -> tuple[str, ...]:
    tests = tuple(text.split(","))
    if unknown := sorted(set(tests).difference(TESTS)):
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(TESTS)}")
    return tests


def _run(
    options: argparse.Namespace,
    argv: Sequence[str],
    model_process: Sequence[str],
    command: Sequence[str],
) -> int:
    page = options.report or options.out.with_suffix(".html")
    for path in (options.out, page):
        _write(check_writable, path)
    machine, was_busy = describe_machine(), load_average() > cores() / 2
    with tempfile.TemporaryDirectory(prefix="tune-") as folder:
        seconds = longest_call(options.p99_ms / 1000)
        _say(f"measuring {options.model}")
        engines = EngineMeasurements(options.model, model_process, seconds, Path(folder), _say)
        others = CANDIDATES if "engines" in options.test else ()
        measured = asyncio.run(engines.all(others))
        tried = _trials(options, engines, command)
        chosen, reasons = _tested(tried, measured, options)
    if was_busy:
        reasons.append(f"Other processes were busy (load average {machine['load before']})")
    comments = _comments(argv, options.p99_ms, measured, tried, reasons)
    found = Findings(
        model=options.model,
        objective_ms=options.p99_ms,
        engines=measured,
        stages=tried.stages,
        overloads=tried.overloads,
        settings=settings_yaml(chosen, comments) if chosen else "",
        reasons=reasons,
        command=_command(argv),
        machine=machine,
    )
    return _write_and_print(found, options.out, page)


def _trials(
    options: argparse.Namespace, engines: EngineMeasurements, command: Sequence[str]
) -> Trials:
    load = UnderLoad(
        options.model,
        options.p99_ms / 1000,
        options.step_seconds,
        options.max_rate,
        options.rows,
        command,
        str(engines.cache),
        engines.keep,
    )
    return Trials(load, options.rounds, _say)


def _tested(
    tried: Trials, measured: Sequence[Measured], options: argparse.Namespace
) -> tuple[Candidate | None, list[str]]:
    """Test engines, then processes, then settings of batching, each with what was best so far.

    Return the recommended settings, None if none met the objective, and the reasons.
    """
    p99_ms = options.p99_ms
    best = tried.run("Engines", of_engines(measured))
    if "processes" in options.test:
        best = tried.run("Threads and processes", of_processes(best, cores()))
    curve = next(
        each.batch_size
        for each in measured
        if each.batch_size and best.engine in (each.engine, TENSORFLOW)
    )
    if "batching" in options.test or not tried.stages:
        best = tried.run("Batching", candidates(curve, p99_ms / 1000, best))
    choices = [stage.choice for stage in tried.stages]
    knees = [knee for knee in choices[-1].trial.knees if knee]
    if not knees:
        return None, [f"No settings met the objective of {p99_ms:g} ms at any rate"]
    reasons = [choice.why for choice in choices]
    if "batching" not in options.test:
        return best, reasons
    chosen, why = tried.try_queue_limit(curve, best, significant(min(knees)))
    return chosen, [*reasons, why]


def _write_and_print(found: Findings, out: Path, page: Path) -> int:
    """Write the page and the recommended settings, if any; return the exit code."""
    _write(lambda path: path.write_text(tuning_page(found)), page)
    for reason in found.reasons:
        print(f"{reason}.")
    if not found.settings:
        print(f"report: {page}")
        return 1
    _write(lambda path: path.write_text(found.settings), out)
    print(f"\n{found.settings}\nsettings: {out}\nreport: {page}")
    print(
        f"to use them: python -m server {shlex.quote(found.model)} --config {shlex.quote(str(out))}"
    )
    return 0


def _comments(
    argv: Sequence[str],
    p99_ms: float,
    measured: Sequence[Measured],
    tried: Trials,
    reasons: Sequence[str],
) -> list[str]:
    return [
        f"Written by {_command(argv)}",
        f"Objective: 99 % of the requests answered within {p99_ms:g} ms.",
        *(f"{reason}." for reason in reasons),
        "Milliseconds of a call, by its rows:",
        *(f"  {each}" for each in measured),
        "The highest rate that met the objective, in each round:",
        *(f"  {trial}" for stage in tried.stages for trial in stage.trials),
    ]


def _command(argv: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "server", "tune", *argv])


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _write(write: Callable[[Path], object], path: Path) -> None:
    try:
        write(path)
    except OSError as error:
        raise CannotTune(f"{path}: cannot be written: {error.strerror}") from error
