"""Runs the sweep that the command line asks for, and writes its report."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from server.loadtest.knee import Rates
from server.loadtest.loop import run_coroutine
from server.loadtest.machine import describe_machine
from server.loadtest.narrate import Narrator
from server.loadtest.payload import Payload, draw_pool, encode
from server.loadtest.report.sweep_report import report, sentence
from server.loadtest.step import Objective
from server.loadtest.sweep import Plan, Sweep
from server.loadtest.sweep_result import (
    NotASweep,
    SweepResult,
    check_writable,
    make_result,
    read_result,
    write_result,
)
from server.loadtest.target_server import describe_server, fetch_document, target_of

POOL_REQUESTS = 20_000
POOL_ROWS = 100_000
OVERLOADED = {200, 503, 504}  # statuses that an overload explains
FOREIGN = ("rate", "duration", "requests", "model")  # options without effect on a sweep


class SweepError(Exception):
    """The sweep cannot start, or its report cannot be written; the message is one line."""


def run_sweep(options: argparse.Namespace, argv: Sequence[str]) -> int:
    """Run a sweep, or read the one to redraw, and write the report.

    Return 0 when some rate met the objective and all failures are explained by overload, else 1;
    raises SweepError.
    """
    if odd := [name for name in FOREIGN if getattr(options, name)]:
        raise SweepError(f"--{odd[0]} cannot be combined with a sweep")
    others = [_read(options.compare)] if options.compare else []
    if options.redraw:
        results = [_read(options.redraw), *others]
    else:
        _write(check_writable, options.report)
        results = [_sweep(options, argv), *others]
        _write(lambda path: write_result(results[0], path), options.json or _beside(options.report))
    _write(lambda path: path.write_text(report(results)), options.report)
    print(f"{sentence(results[0])}\nreport: {options.report}")
    return 0 if options.redraw or _is_well(results[0], options.expect | OVERLOADED) else 1


def _sweep(options: argparse.Namespace, argv: Sequence[str]) -> SweepResult:
    target = target_of(options.url, options.path)
    document = fetch_document(target_of(options.url, "/openapi.json"))
    server = describe_server(options.url, document)
    room = max(1, min(POOL_REQUESTS, POOL_ROWS // options.rows))
    pool = draw_pool(Payload(document, options.path), room, options.rows, options.seed)
    machine = describe_machine()
    plan = _plan(options)
    print(f"{options.url}{options.path}: {plan.objective}", file=sys.stderr)
    sweep = Sweep(target, [target.message(encode(data)) for data in pool], plan, Narrator())
    figures = run_coroutine(sweep.run())
    command = shlex.join(["python", "scripts/load_test.py", *argv])
    url = f"{options.url}{options.path}"
    return make_result(options.name or url, url, plan, command, server, machine, figures)


def _plan(options: argparse.Namespace) -> Plan:
    if options.start_rate > options.max_rate:
        raise SweepError("--start-rate is above --max-rate")
    return Plan(
        objective=Objective(options.p99_ms / 1000),
        rates=Rates(start=options.start_rate, most=options.max_rate),
        step_seconds=options.step_seconds,
        connections=options.connections or Plan.connections,
        timeout=options.timeout or Plan.timeout,
        rows=options.rows,
        arrivals=options.arrivals,
        seed=options.seed,
    )


def _is_well(result: SweepResult, expected: Collection[int]) -> bool:
    """Return whether there is a knee, and an overload explains every failure.

    It explains timeouts, too: a server with an unbounded queue answers too late.
    """
    odd = [
        *({int(status) for step in result["steps"] for status in step["statuses"]} - {*expected}),
        *(
            {reason for step in result["steps"] for reason in step["lost_by_reason"]}
            - {"no answer in time"}
        ),
    ]
    for each in odd:
        print(f"unexpected: {each}", file=sys.stderr)
    return result["knee"]["rate"] is not None and not odd and not result["ended_by"]


def _read(path: Path) -> SweepResult:
    try:
        return read_result(path)
    except NotASweep as error:
        raise SweepError(str(error)) from error


def _write(write: Callable[[Path], object], path: Path) -> None:
    try:
        write(path)
    except OSError as error:
        raise SweepError(f"{path}: cannot be written: {error.strerror}") from error


def _beside(page: Path) -> Path:
    """Return the path of the JSON file that belongs to a report."""
    return page.with_suffix(".json")
