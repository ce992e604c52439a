"""What a model process does between its start and its first batch.

It loads and traces the network, makes the first calls, which are slow, measures how many rows a
call should have, checks whether rows depend on each other, compares the model with the version that
is served, and computes the answers to the examples of the API documentation.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, NamedTuple

from model.engines.interface import Engine
from model.examples import example_rows
from model.formats.options import LoadOptions
from model.padding import Padding
from model.process.batch_size import BatchSize, Limits, measure
from model.process.eager_check import traced_or_eager
from model.process.find_padding import OFF, find_padding
from model.process.neighbours import Neighbours
from model.process.sample import MAX_KEPT_BYTES, in_form_of, kept
from model.process.trials import MAX_NOISE, Trials
from model.signature import Signature
from model.tensors import Tensors, distance, is_finite

log = logging.getLogger(__name__)

MAX_ROUNDING: Final = 1e-3  # relative; up to that was seen of sound networks
EXAMPLE_SIZES: Final = (2, 8, 32, 128)  # tried for variable dimensions
EXAMPLE_ROWS: Final = (1, 2)
UNMEASURED_ROWS: Final = 32  # of a call, where no generated rows can be timed


class NotServable(Exception):
    """The model was loaded, but must not replace the version that is served."""


class Golden(NamedTuple):
    """Rows and the model's own answer to them, which the next version is compared with.

    Of a large answer there is only a Sample.
    """

    rows: Tensors
    answer: Tensors


@dataclass(frozen=True)
class Before:
    """The version that is served: everything that a new version is compared with."""

    signature: Signature
    batch_size: BatchSize
    golden: tuple[Golden, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """The request to try other engines with a version, in place of serving it.

    Attributes:
        engines: their names.
        folder: where to write what was chosen.
        only: the one that a user has set, which need not be faster; "": the best is chosen.
    """

    engines: tuple[str, ...]
    folder: str
    only: str = ""


@dataclass(frozen=True)
class LoadRequest:
    """The request to load a version, sent to a model process.

    Attributes:
        path: the file to read.
        shown_path: its name in messages.
        options: how to load it; `threads` 0: the number of usable cores, divided by `replicas`.
        max_rows: the most rows of a call; 0: the best number is measured.
        max_batch_seconds: the longest call that the measured number may lead to.
        pad: whether rows of different lengths share a batch, in the words of `batching.pad`.
        replicas: how many processes serve this version.
        beside_others: other models are being served; loading leaves most cores to them.
        is_restart: the same version ran before, so nothing is measured or compared again.
        allow_signature_change: inputs and outputs may differ from those of `before`.
        engine: which engine computes it.
        converted: the folder of what was converted for `engine`, if that was necessary.
        conversion: what to try, instead of serving.
        before: the version that is served now.
    """

    path: str
    shown_path: str = ""
    options: LoadOptions = field(default_factory=LoadOptions)
    max_rows: int = 0
    max_batch_seconds: float = 0.05
    pad: str = OFF
    replicas: int = 1
    beside_others: bool = False
    is_restart: bool = False
    allow_signature_change: bool = False
    engine: str = "tensorflow"
    converted: str = ""
    conversion: Conversion | None = None
    before: Before | None = None


@dataclass(frozen=True)
class Report:
    """What a model process reports about the version that it has loaded.

    Attributes:
        golden: examples and the model's answers to them.
        moved: the largest difference from answers of the version before, relative to their
            scale; None if they were not compared.
        is_eager: tracing the network was found to be wrong, so Keras calls it layer by layer.
        engine: which engine computes it, in the words of `model.engine`.
        padding: how rows of different lengths share a batch; None if they do not.
    """

    signature: Signature
    batch_size: BatchSize
    golden: tuple[Golden, ...] = field(default=())
    moved: float | None = None
    is_eager: bool = False
    engine: str = "tensorflow"
    padding: Padding | None = None


Load = Callable[[LoadRequest], Engine]
Tell = Callable[[str], None]


def prepare(load: Load, request: LoadRequest, tell: Tell = lambda _: None) -> tuple[Engine, Report]:
    """Load a network and make it ready; `tell` is called with each step before it begins.

    Raises what `load` raises, ModelError and NotServable.
    """
    engine, report = _prepared(load, request, tell)
    return engine, replace(report, engine=engine.name)


def _prepared(load: Load, request: LoadRequest, tell: Tell) -> tuple[Engine, Report]:
    tell("loading")
    loaded = engine = load(request)
    before = request.before
    if before and not request.allow_signature_change:
        check_signature(before.signature, engine.signature)
    tell("making the first calls")
    is_set = bool(request.max_rows)
    request = with_row_limit(request, engine)
    trials = Trials(engine, request.shown_path or request.path)
    if not (request.is_restart or request.options.keep_state):
        trials = traced_or_eager(trials, tell)
    engine, is_eager = trials.engine, trials.engine is not loaded
    if not trials.find_rows():
        return engine, replace(untried(trials, engine.signature, request), is_eager=is_eager)
    if request.is_restart:
        trials.warm_up(request.max_rows)
        return engine, Report(engine.signature, BatchSize(request.max_rows))
    batch_size = warm_up(trials, request, tell)
    tell("comparing rows alone and in a batch")
    if not request.options.keep_state:
        batch_size = with_neighbours(batch_size, trials, is_set=is_set)
    moved = compare(trials, engine.signature, before) if before else None
    tell("answering the examples")
    golden = answer_examples(trials, engine.signature)
    padding = find_padding(trials, request.pad, batch_size.rows, request.max_batch_seconds, tell)
    return engine, Report(engine.signature, batch_size, golden, moved, is_eager, padding=padding)


def with_row_limit(request: LoadRequest, engine: Engine) -> LoadRequest:
    """Return the request with the most rows of a call that the network leaves no choice about."""
    if request.options.keep_state:
        if not request.is_restart:
            log.warning("the model keeps state from call to call, and all clients share it")
        return replace(request, max_rows=1)
    if engine.fixed_rows is None:
        return request
    log.info("the network was built for calls of %d rows; fewer are filled up", engine.fixed_rows)
    rows = min(request.max_rows or engine.fixed_rows, engine.fixed_rows)
    return replace(request, max_rows=rows)


def untried(trials: Trials, signature: Signature, request: LoadRequest) -> Report:
    """Return the report on a network that accepts no generated rows; log a warning.

    It is served all the same, because the rows of clients may be accepted.
    """
    before = request.before
    rows = request.max_rows or (before.batch_size.rows if before else UNMEASURED_ROWS)
    batch_size = BatchSize(min(rows, trials.most_rows or rows))
    if request.is_restart:
        return Report(signature, batch_size)
    log.warning(
        "the model fails on all generated rows (%s): it is served without warm-up, so its first "
        "calls are slow, without examples, and with batching.max_rows %d",
        *(trials.refusal, batch_size.rows),
    )
    return Report(signature, batch_size, (), compare(trials, signature, before) if before else None)


def warm_up(trials: Trials, request: LoadRequest, tell: Tell) -> BatchSize:
    """Make the first calls; measure how many rows a call should have, unless that is set."""
    if request.max_rows:
        trials.warm_up(request.max_rows)
        return BatchSize(request.max_rows)
    seconds = request.max_batch_seconds
    known = request.before.batch_size if request.before else None
    if known and known.rows > 1 and is_as_fast(trials, known.rows, seconds):
        return known
    trials.warm_up(1)
    limits = Limits(call_seconds=seconds)
    batch_size = measure(trials.trial, trials.row_nbytes, limits, tell=tell)
    log.info("batching.max_rows: %s", batch_size)
    return batch_size


def is_as_fast(trials: Trials, rows: int, seconds: float) -> bool:
    """Return whether a call with so many rows is short enough.

    If it is, the batch size of the version before is kept. Measuring it again would be inexact,
    because the calls of the version that is served take time meanwhile.
    """
    trials.warm_up(rows)
    call = trials.trial(rows)
    started = time.perf_counter()
    call()
    return time.perf_counter() - started <= seconds


def check_signature(before: Signature, now: Signature) -> None:
    """Raise NotServable when the inputs or outputs differ from those of the version before."""
    if before != now:
        raise NotServable(
            f"its signature is {now}, but that of the served version is {before}; "
            "set model.allow_signature_change: true if that is intended"
        )


def compare(trials: Trials, signature: Signature, before: Before) -> float | None:
    """Return the largest relative difference between new and recorded answers; None if none exist.

    Raises NotServable when an answer that was finite before is no longer finite.
    """
    if not before.golden or before.signature.inputs != signature.inputs:
        return None
    moved = 0.0
    for rows, answer in before.golden:
        now = trials.answer(rows)
        if is_finite(answer) and not is_finite(now):
            why = "it answers NaN or infinity to rows that had finite answers before"
            raise NotServable(f"{why}; check how it was trained and saved")
        moved = max(moved, distance(answer, in_form_of(answer, now)))
    return moved


def with_neighbours(measured: BatchSize, trials: Trials, *, is_set: bool) -> BatchSize:
    """Return how many rows a call has: one, if rows depend on each other and none were set."""
    if trials.noise > MAX_NOISE:
        log.warning(
            "the model answers the same rows differently at every call (by %.1e of their scale): "
            "it has random layers that are switched on, or keeps state; its answers are not "
            "compared",
            trials.noise,
        )
        return measured
    neighbours = Neighbours(trials)
    if neighbours.matter():
        return one_row_a_call(measured, is_set=is_set)
    warn_of_rounding(neighbours.alone_and_together())
    return measured


def one_row_a_call(measured: BatchSize, *, is_set: bool) -> BatchSize:
    """Return one row a call, or what the user set; log a warning."""
    what = "the answer to a row changes with the other rows of its batch"
    if is_set and measured.rows > 1:
        log.warning(
            "%s, and batching.max_rows is set to %d: set it to auto or 1, or clients get answers "
            "that depend on what others send",
            *(what, measured.rows),
        )
        return measured
    log.warning("%s: each call gets one row", what)
    return BatchSize(1)


def warn_of_rounding(difference: float) -> None:
    """Log a warning if a row's answer in a batch is far from that to the row alone."""
    if difference > MAX_ROUNDING:
        log.warning(
            "a row's answer differs by %.1e of its scale when it is in a batch: the model rounds "
            "otherwise, or its answer depends on the number of rows; set batching.max_rows to 1 if "
            "that matters",
            difference,
        )


def answer_examples(trials: Trials, signature: Signature) -> tuple[Golden, ...]:
    """Return the examples of the API documentation, of one and of two rows, with their answers.

    A model may reject plausible rows, for example a sequence that is shorter than its window; then
    another size is tried, and at last rows that it accepted before. Finite answers are preferred.
    """
    found: list[tuple[Golden, ...]] = []
    for make in example_makers(trials, signature):
        with contextlib.suppress(Exception):
            found.append(answered(trials, make))
            if all(is_finite(golden.answer) for golden in found[-1]):
                return found[-1]
    if not found:
        log.warning(
            "no generated example works for this model; the API documentation has no examples"
        )
    return found[0] if found else ()


def example_makers(trials: Trials, signature: Signature) -> Iterator[Callable[[int], Tensors]]:
    """Generate functions that return so many rows, the most plausible first."""
    for size in EXAMPLE_SIZES[:1] if signature.is_fixed else EXAMPLE_SIZES:
        yield partial(example_rows, signature, variable_size=size)
    yield trials.different_rows
    yield trials.rows


def answered(trials: Trials, make: Callable[[int], Tensors]) -> tuple[Golden, ...]:
    """Return an example with its answer for each number of rows that a call may have.

    Several rows are left out if they are large, because the main process keeps the examples.

    Raises the model's errors.
    """
    counts = [count for count in EXAMPLE_ROWS if count <= (trials.most_rows or count)]
    examples = [
        rows for rows in map(make, counts) if len(rows) == 1 or rows.nbytes <= MAX_KEPT_BYTES
    ]
    return tuple(Golden(rows, kept(trials.answer(rows))) for rows in examples)
