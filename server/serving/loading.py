"""In the model's thread: load, warm up, compare with the version before, make examples."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from model.signature import Signature
from model.tensors import Rows, distance, is_finite
from server.batching.batch_size import BatchSize, Limits, measure
from server.config import BatchingSettings, Settings
from server.dialects.native.dialect import NativeDialect
from server.dialects.table import Dialects

log = logging.getLogger(__name__)

MAX_ROW_DEPENDENCE = 1e-4
EXAMPLE_SIZES = (2, 8, 32, 128)  # of a variable dimension


class Model(Protocol):
    """What the service needs of a model; all of it is called in the model's thread."""

    @property
    def signature(self) -> Signature:
        """Its inputs and outputs."""

    @property
    def row_nbytes(self) -> int:
        """The size of one row of input in bytes."""

    def warm_up(self, max_rows: int) -> None:
        """Make the first calls, which are slow."""

    def trial(self, rows: int) -> Callable[[], object]:
        """Return a call with so many rows, to be timed, after making it once."""

    def row_dependence(self) -> float:
        """Return how far, relatively, a row's answer moves when it rides in a batch."""

    def predict(self, parts: Sequence[Rows]) -> Sequence[Rows]:
        """Call the network once for all parts; return an answer for each."""


class NotServable(Exception):
    """A model that could be loaded, and must not take the place of the one that is served."""


class Golden(NamedTuple):
    """Rows and the model's own answer to them, which the next version is held against."""

    rows: Rows
    answer: Rows


@dataclass(frozen=True)
class Example:
    """A request and the model's own answer to it, both as bodies."""

    summary: str
    request: bytes
    answer: bytes


class Loaded(NamedTuple):
    """What comes out of the thread in which a model was loaded."""

    model: Model
    dialects: Dialects
    batch_size: BatchSize
    examples: list[Example]
    golden: list[Golden]
    moved: float | None  # how far answers are from those of the version before


def prepare(
    name: str,
    version: str,
    load: Callable[[], Model],
    settings: Settings,
    before: Loaded | None,
) -> Loaded:
    model = load()
    if before and not settings.model.allow_signature_change:
        check_signature(before.model.signature, model.signature)
    batch_size = _warm_up(model, settings.batching, before)
    warn_of_dependent_rows(model.row_dependence())
    dialects = Dialects(name, version, model.signature, settings.predict)
    moved = hold_against(model, before) if before else None
    examples, golden = examples_of(model, dialects.native)
    return Loaded(model, dialects, batch_size, examples, golden, moved)


def _warm_up(model: Model, settings: BatchingSettings, before: Loaded | None) -> BatchSize:
    """Make the first calls; find out how many rows a call should have, unless that is set."""
    if settings.max_rows != "auto":
        model.warm_up(settings.max_rows)
        return BatchSize(settings.max_rows)
    limits = Limits(call_seconds=settings.max_batch_ms / 1000)
    if before and _is_as_fast(model, before.batch_size.rows, limits.call_seconds):
        return before.batch_size
    model.warm_up(1)
    batch_size = measure(model.trial, model.row_nbytes, limits)
    log.info("batching.max_rows: %s", batch_size)
    return batch_size


def _is_as_fast(model: Model, rows: int, seconds: float) -> bool:
    """Tell whether a call with so many rows is short enough.

    Then what was measured before is kept: measuring beside a model that is at work would tell of
    both.
    """
    model.warm_up(rows)
    call = model.trial(rows)
    started = time.perf_counter()
    call()
    return time.perf_counter() - started <= seconds


def check_signature(before: Signature, now: Signature) -> None:
    """Raise NotServable when a model takes or gives something else than the one before."""
    if before != now:
        raise NotServable(
            f"its signature is {now}, where {before} is served; "
            "set model.allow_signature_change if that is meant"
        )


def hold_against(model: Model, before: Loaded) -> float | None:
    """Return how far answers to recorded rows have moved, relatively; None if there are none.

    Raises NotServable when an answer is not finite that was finite before.
    """
    if not before.golden or before.model.signature.inputs != model.signature.inputs:
        return None
    moved = 0.0
    for rows, answer in before.golden:
        [now] = model.predict([rows])
        if is_finite(answer) and not is_finite(now):
            raise NotServable("it answers NaN or infinity to rows that had finite answers before")
        moved = max(moved, distance(answer, now))
    return moved


def warn_of_dependent_rows(difference: float) -> None:
    """Say so when a model must not be batched."""
    if difference > MAX_ROW_DEPENDENCE:
        log.warning(
            "a row's answer differs by %.1e when it is in a batch: the rows of this model depend "
            "on each other, or it keeps state; set batching.max_rows to 1",
            difference,
        )


def examples_of(model: Model, dialect: NativeDialect) -> tuple[list[Example], list[Golden]]:
    """Ask the model itself for the answers that the documentation shows.

    A model may refuse what is only plausible, such as a sequence shorter than its window; what it
    does not answer is not shown.
    """
    for size in EXAMPLE_SIZES:
        with contextlib.suppress(Exception):
            pairs = [
                example_of(model, dialect, "one example", dialect.example(variable_size=size)),
                example_of(
                    model, dialect, "a batch of two", dialect.example(2, variable_size=size)
                ),
            ]
            return [example for example, _ in pairs], [golden for _, golden in pairs]
    log.warning("the model answers none of the made-up examples: the documentation has none")
    return [], []


def example_of(
    model: Model, dialect: NativeDialect, summary: str, body: bytes
) -> tuple[Example, Golden]:
    """Return a request with the model's answer; raises what the model raises."""
    request = dialect.decode(body)
    [answer] = model.predict([request.tensors])
    example = Example(summary, body, dialect.encode(answer, request).body)
    return example, Golden(request.tensors, answer)


class ModelFile(NamedTuple):
    """What is to be loaded: a path, and the SHA-256 that the file must have, or ""."""

    path: str
    sha256: str


Load = Callable[[ModelFile], Model]
