"""The command line of load_test.py: read the server's schema, send requests, report."""

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
POOL_REQUESTS = 20_000  # without --requests

RATE_HELP = (
    "open loop: send N requests per second without waiting for answers "
    "(default: closed loop, one request at a time on each connection)"
)
P99_HELP = "objective: 99 %% of the requests answered within N milliseconds (default: %(default)g)"
START_HELP = "first rate, in requests per second (default: %(default)g)"
MOST_HELP = "highest rate, in requests per second (default: %(default)g)"
SWEEP_DESCRIPTION = (
    "Raise the rate of an open loop until the objective is missed, then narrow down the knee: the "
    "highest rate that meets the objective."
)

LoadModel = Callable[[Path], Model]


class UsageError(Exception):
    """The load test cannot start; the message is one line."""


def main(argv: Sequence[str], load_model: LoadModel | None = None) -> int:
    """Run the load test; return 0 on success, 1 on failures, 2 when it could not start."""
    options = _parser().parse_args(argv)
    try:
        if options.sweep or options.redraw:
            return run_sweep(options, argv)
        numbers = _run(options, load_model or _load_model)
    except (UsageError, SweepError, UnusableServer, PayloadError) as error:
        print(f"load_test: {error}", file=sys.stderr)
        return 2
    return 0 if numbers["ok"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="load_test.py",
        description="Load-test a running server. The requests are generated from the schema that "
        "the server publishes at /openapi.json.",
        epilog="Exit code 1: an answer is lost or wrong, or has an unexpected status. "
        "2: the test could not start.",
    )
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8888", help="URL of the server (default: %(default)s)")
    add("--path", default="/predict", help="path of the requests (default: %(default)s)")
    add(
        "--connections",
        metavar="N",
        type=count,
        help=f"maximum number of connections (default: {CONNECTIONS}, sweep: {Plan.connections})",
    )
    add("--rate", metavar="N", type=positive, help=RATE_HELP)
    add(
        "--arrivals",
        choices=["poisson", "constant"],
        default="poisson",
        help="arrival times of an open loop (default: %(default)s)",
    )
    _add_size(parser)
    add("--seed", type=int, default=0, help="seed of rows and arrival times (default: %(default)s)")
    _add_checks(parser)
    _add_sweep(parser)
    return parser


def _add_size(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--duration",
        metavar="S",
        type=positive,
        help=f"seconds to send requests (default: {DEFAULT_DURATION:g}, no limit with --requests)",
    )
    add("--requests", metavar="N", type=count, help="stop after N requests")
    add(
        "--rows",
        metavar="N",
        type=count,
        default=1,
        help="rows per request; two or more are sent as a batch (default: %(default)s)",
    )


def _add_checks(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", type=Path, metavar="FILE", help="compare every answer with this model's output")
    add(
        "--timeout",
        metavar="S",
        type=positive,
        help="seconds after which a request without an answer counts as lost "
        f"(default: {TIMEOUT:g}, sweep: {Plan.timeout:g})",
    )
    add(
        "--expect",
        metavar="STATUSES",
        type=_statuses,
        default={200},
        help="statuses that are not failures, such as 200,503 (default: 200)",
    )
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the results as JSON (default: not written, sweep: next to the report)",
    )


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("sweep", SWEEP_DESCRIPTION).add_argument
    add("--sweep", action="store_true", help="find the knee and write an HTML report")
    add("--p99-ms", metavar="N", type=positive, default=50.0, help=P99_HELP)
    add(
        "--step-seconds",
        metavar="S",
        type=positive,
        default=Plan.step_seconds,
        help="seconds at each rate (default: %(default)g)",
    )
    add("--start-rate", metavar="N", type=positive, default=Rates.start, help=START_HELP)
    add("--max-rate", metavar="N", type=positive, default=Rates.most, help=MOST_HELP)
    add(
        "--report",
        type=Path,
        metavar="FILE",
        default=Path("load-test.html"),
        help="HTML report to write (default: %(default)s)",
    )
    add("--name", metavar="TEXT", help="name of the server in the report (default: its URL)")
    add(
        "--compare", type=Path, metavar="JSON", help="show this earlier sweep in the report as well"
    )
    add("--redraw", type=Path, metavar="JSON", help="write the report of this earlier sweep again")


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
    gc.freeze()  # a full collection during the test would show as latency
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
        f"rows per request: {options.rows}"
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
    print(f"computing {len(pool):,} expected answers with {options.model}", file=sys.stderr)
    return ExpectedAnswers(load_model(options.model), pool, options.rows)


def _load_model(path: Path) -> Model:
    from model.formats.load import ModelError, load_model  # few runs need it

    try:
        return load_model(path)
    except ModelError as error:
        raise UsageError(str(error)) from error


def _statuses(text: str) -> set[int]:
    statuses = text.split(",")
    if not all(each.isdecimal() for each in statuses):
        raise argparse.ArgumentTypeError("not a list of statuses such as 200,503")
    return {int(each) for each in statuses}
