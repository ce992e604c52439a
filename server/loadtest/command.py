"""The command line: find the server's schema, make requests, run the load, report."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import math
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson
from rich.console import Console

from server.loadtest.arguments import count, positive
from server.loadtest.client import Target
from server.loadtest.console import print_report
from server.loadtest.expected_answers import ExpectedAnswers, Model
from server.loadtest.knee import Rates
from server.loadtest.load_generator import LoadGenerator
from server.loadtest.loop import run_coroutine
from server.loadtest.payload import Payload, PayloadError, draw_pool, encode
from server.loadtest.progress import show_progress
from server.loadtest.schedule import (
    ClosedLoop,
    OpenLoop,
    Schedule,
    constant_arrivals,
    poisson_arrivals,
)
from server.loadtest.sweep import Plan
from server.loadtest.sweep_command import SweepError, run_sweep
from server.loadtest.tally import EXCERPT, Tally, figures
from server.loadtest.target_server import UnusableServer, fetch_document, target_of

DEFAULT_DURATION = 10.0
CONNECTIONS = 64
TIMEOUT = 60.0
POOL_ROWS = 100_000
POOL_REQUESTS = 20_000  # where nothing says how many will be sent

P99_HELP = "milliseconds in which 99 %% of the requests are to be answered (%(default)g)"
STEP_HELP = "seconds of each rate (%(default)g)"
START_HELP = "the first rate, in requests a second (%(default)g)"
MOST_HELP = "the highest rate (%(default)g)"
REPORT_HELP = "the page (%(default)s)"

LoadModel = Callable[[Path], Model]


class UsageError(Exception):
    """The load cannot begin; one line says why."""


def main(argv: Sequence[str], load_model: LoadModel | None = None) -> int:
    """Run the load test; return 0 when all went well, 1 when not, 2 when it could not begin."""
    options = _parser().parse_args(argv)
    try:
        if options.sweep or options.redraw:
            return run_sweep(options, argv)
        numbers = _run(options, load_model or _load_keras_model)
    except (UsageError, SweepError, UnusableServer, PayloadError) as error:
        print(f"load_test: {error}", file=sys.stderr)
        return 2
    return 0 if numbers["ok"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="load_test.py",
        description="Put load on a running server, with requests made from its own schema.",
        epilog="Exit code 1: a lost or wrong answer, or an unexpected status. 2: could not begin.",
    )
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8888", help="the server (%(default)s)")
    add("--path", default="/predict", help="where to POST (%(default)s)")
    add(
        "--connections",
        type=count,
        help=f"at most so many ({CONNECTIONS}; sweep: {Plan.connections})",
    )
    add("--rate", type=positive, help="open loop: requests a second, whatever comes back")
    add("--arrivals", choices=["poisson", "constant"], default="poisson", help="of the open loop")
    add("--duration", type=positive, help=f"seconds ({DEFAULT_DURATION:g} without --requests)")
    add("--requests", type=count, help="end after so many")
    add("--rows", type=count, default=1, help="rows a request; more than 1 are sent as a batch")
    add("--seed", type=int, default=0, help="of the rows and the arrivals (%(default)s)")
    add("--model", type=Path, metavar="FILE", help="compare every answer with this model's own")
    add(
        "--timeout",
        type=positive,
        help=f"seconds till an answer counts as lost ({TIMEOUT:g}; sweep: {Plan.timeout:g})",
    )
    add("--expect", type=_statuses, default={200}, help="statuses that are no failure (200)")
    add("--json", type=Path, metavar="FILE", help="write the numbers (sweep: beside the report)")
    _add_sweep(parser)
    return parser


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "sweep", "Raise an open loop's rate until an objective breaks."
    )
    add = group.add_argument
    add("--sweep", action="store_true", help="find the knee, and write a report")
    add("--p99-ms", metavar="N", type=positive, default=50.0, help=P99_HELP)
    add("--step-seconds", metavar="S", type=positive, default=Plan.step_seconds, help=STEP_HELP)
    add("--start-rate", metavar="N", type=positive, default=Rates.start, help=START_HELP)
    add("--max-rate", metavar="N", type=positive, default=Rates.most, help=MOST_HELP)
    add("--report", type=Path, metavar="FILE", default=Path("load-test.html"), help=REPORT_HELP)
    add("--name", metavar="TEXT", help="what is tested, in the report (the address)")
    add("--compare", type=Path, metavar="JSON", help="draw another sweep on the same page")
    add("--redraw", type=Path, metavar="JSON", help="make no load, but the report of this sweep")


def _run(options: argparse.Namespace, load_model: LoadModel) -> dict[str, Any]:
    target = target_of(options.url, options.path)
    payload = Payload(fetch_document(target_of(options.url, "/openapi.json")), options.path)
    pool = draw_pool(payload, _pool_size(options), options.rows, options.seed)
    answers = _expected_answers(options, load_model, pool)
    messages = [target.message(encode(data)) for data in pool]
    tally = Tally(rows=options.rows)
    run_coroutine(_put_load(options, target, messages, tally, answers))
    numbers = figures(tally, options.expect)
    _report(options, numbers, tally, answers)
    return numbers


async def _put_load(
    options: argparse.Namespace,
    target: Target,
    messages: Sequence[bytes],
    tally: Tally,
    answers: ExpectedAnswers | None,
) -> None:
    load = LoadGenerator(
        target,
        messages,
        _schedule(options),
        tally,
        connections=options.connections or CONNECTIONS,
        timeout=options.timeout or TIMEOUT,
        check=answers.matches if answers else None,
    )
    with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # no main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, load.stop)
    gc.collect()
    gc.freeze()  # a full collection in the middle would show as latency
    progress = asyncio.create_task(show_progress(Console(stderr=True), load, tally))
    await load.run()
    gc.unfreeze()
    progress.cancel()
    await asyncio.wait([progress])


def _report(
    options: argparse.Namespace,
    numbers: dict[str, Any],
    tally: Tally,
    answers: ExpectedAnswers | None,
) -> None:
    console = Console()
    console.print(_headline(options), highlight=False, soft_wrap=True)
    print_report(console, numbers, tally)
    for index, excerpt in tally.wrong_samples:
        print(f"  expected {answers and str(answers[index])[:EXCERPT]}, got {excerpt}")
    if options.json:
        options.json.write_bytes(orjson.dumps(numbers, option=orjson.OPT_INDENT_2) + b"\n")


def _headline(options: argparse.Namespace) -> str:
    loop = f"open loop, {options.rate:g}/s {options.arrivals}" if options.rate else "closed loop"
    return (
        f"{options.url}{options.path}: {loop}, {options.connections or CONNECTIONS} connections, "
        f"rows a request: {options.rows}"
    )


def _schedule(options: argparse.Namespace) -> Schedule:
    requests = options.requests or math.inf
    duration = options.duration or (math.inf if options.requests else DEFAULT_DURATION)
    if not options.rate:
        return ClosedLoop(duration, requests)
    if options.arrivals == "constant":
        return OpenLoop(constant_arrivals(options.rate), duration, requests)
    return OpenLoop(poisson_arrivals(options.rate, Random(options.seed)), duration, requests)


def _pool_size(options: argparse.Namespace) -> int:
    wanted: int = options.requests or POOL_REQUESTS
    room: int = POOL_ROWS // options.rows
    return max(1, min(wanted, room))


def _expected_answers(
    options: argparse.Namespace, load_model: LoadModel, pool: Sequence[Any]
) -> ExpectedAnswers | None:
    if not options.model:
        return None
    print(f"asking {options.model} for {len(pool):,} answers", file=sys.stderr)
    return ExpectedAnswers(load_model(options.model), pool, options.rows)


def _load_keras_model(path: Path) -> Model:
    from model.keras_model import KerasModel, ModelError  # takes seconds, and is rarely wanted

    try:
        return KerasModel.load(path)
    except ModelError as error:
        raise UsageError(str(error)) from error


def _statuses(text: str) -> set[int]:
    statuses = text.split(",")
    if not all(each.isdecimal() for each in statuses):
        raise argparse.ArgumentTypeError("not a list such as 200,503")
    return {int(each) for each in statuses}
