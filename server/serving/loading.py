"""What is known of a version once its model process has loaded it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from model.formats.options import LoadOptions
from model.padding import Padding
from model.process.batch_size import BatchSize
from model.process.prepare import Before, Golden, LoadRequest, Report
from model.process.sample import Sample
from model.signature import Signature
from model.tensors import Rows
from server.config import ConfigError, ModelSource, Settings
from server.dialects.answer_size import is_known
from server.dialects.native.dialect import NativeDialect
from server.dialects.native.python_line import PythonLine, python_line
from server.dialects.table import Dialects
from server.errors import NonFiniteOutput
from server.serving.client import LoadRejected
from server.serving.decoders.jobs import recipe_of
from server.serving.labels import Given, labels_for
from server.serving.versions import Origin

MAX_EXAMPLE_BYTES: Final = 4096  # longer requests and answers are not shown anywhere


@dataclass(frozen=True)
class Example:
    """A request and the model's own answer to it, both as bodies; b"" for one too long to show."""

    summary: str
    request: bytes
    answer: bytes


@dataclass(frozen=True)
class Loaded:
    """A version that is loaded.

    Attributes:
        report: what its model process reported.
        dialects: decode and encode its tensors, one for each protocol.
        recipe: makes the same dialects in a decoder process.
        max_body_bytes: the longest body of a request.
    """

    report: Report
    dialects: Dialects
    recipe: bytes
    max_body_bytes: int

    @cached_property
    def knows_answer_size(self) -> bool:
        """Whether the size of an answer follows from its number of rows."""
        return is_known(self.signature.outputs)

    @property
    def signature(self) -> Signature:
        return self.report.signature

    @property
    def batch_size(self) -> BatchSize:
        return self.report.batch_size

    @property
    def padding(self) -> Padding | None:
        """How rows of different lengths share a batch; None if they do not."""
        return self.report.padding

    @cached_property
    def examples(self) -> list[Example]:
        """The examples of the API documentation, made at the first use."""
        return examples_of(self.dialects.native, self.report.golden)

    @cached_property
    def python_line(self) -> PythonLine | None:
        """The line that makes the first example, if its request is too long to show.

        None if it is also too long to send.
        """
        if not self.examples or self.examples[0].request:
            return None
        rows = self.report.golden[0].rows
        if cells_of(rows) > self.max_body_bytes:
            return None
        line = python_line(self.signature, rows)
        return line if line.nbytes <= self.max_body_bytes else None

    @property
    def before(self) -> Before:
        """What the next version is compared with."""
        return Before(self.signature, self.batch_size, self.report.golden)


def loaded(name: str, origin: Origin, report: Report, settings: Settings, given: Given) -> Loaded:
    """Return what is known of a version, from the report of its process.

    `given` are the labels of its outputs. Raises LabelsError, and LoadRejected if the settings of
    its inputs do not fit them.
    """
    source, labels = origin.file.source, labels_for(given, report.signature)
    about = (name, origin.file.version, report.signature, settings.predict)
    parts = (*about, labels, source.inputs)
    try:
        dialects = Dialects(*parts)
    except ConfigError as error:
        raise LoadRejected(f"{origin.file.path}: {error}") from None
    return Loaded(report, dialects, recipe_of(*parts), settings.http.max_body_bytes)


def request_of(
    origin: Origin, settings: Settings, before: Loaded | None, *, beside_others: bool
) -> LoadRequest:
    """Return the request that makes a model process load a version."""
    batching, model = settings.batching, settings.model
    return LoadRequest(
        path=origin.path,
        shown_path=origin.file.path,
        options=options_of(origin.file.source, model.threads),
        max_rows=0 if batching.max_rows == "auto" else batching.max_rows,
        max_batch_seconds=batching.max_batch_ms / 1000,
        pad=batching.pad,
        replicas=1 if origin.file.source.keep_state else model.replicas,
        beside_others=beside_others,
        allow_signature_change=model.allow_signature_change,
        before=before.before if before else None,
    )


def options_of(source: ModelSource, threads: int | Literal["auto"]) -> LoadOptions:
    """Return the settings of one model that matter to loading its file."""
    return LoadOptions(
        sha256=source.sha256,
        signature=source.signature,
        imports=source.imports,
        allow_code=source.allow_code,
        keep_state=source.keep_state,
        threads=0 if threads == "auto" else threads,
    )


def examples_of(dialect: NativeDialect, golden: Sequence[Golden]) -> list[Example]:
    """Return the examples, without those whose answer cannot be sent as JSON."""
    examples = []
    for summary, pair in zip(("one example", "a batch of two"), golden, strict=False):
        try:
            examples.append(example_of(summary, dialect, pair))
        except NonFiniteOutput:
            continue
    return examples


def example_of(summary: str, dialect: NativeDialect, golden: Golden) -> Example:
    """Return an example as bodies; a single row is written as one example, not as a batch.

    Raises NonFiniteOutput.
    """
    single = len(golden.rows) == 1
    request = answer = b""
    if may_be_shown(golden.rows):
        request = dialect.request_body(golden.rows, single=single)
    if may_be_shown(golden.answer):
        answer = dialect.json.write(golden.answer, single)
    return Example(summary, *(b"" if len(b) > MAX_EXAMPLE_BYTES else b for b in (request, answer)))


def may_be_shown(rows: Rows) -> bool:
    """Return whether rows may be short enough as JSON, where a cell has 2 bytes at least."""
    return 2 * cells_of(rows) <= MAX_EXAMPLE_BYTES and not isinstance(rows, Sample)


def cells_of(rows: Rows) -> int:
    """Return how many numbers and strings rows have."""
    return sum(array.size for array in rows.arrays.values())


def why_gone(origin: Origin) -> str:
    """Return why a version cannot be loaded again, and how to replace models instead."""
    path = origin.file.path
    if origin.kept is not None and origin.kept.path.is_dir():
        return (
            f"The folder that was {path} was changed or deleted, so the version before is gone; "
            "replace folders by renaming, and keep the old one until it is no longer needed."
        )
    return (
        f"{path} was overwritten in place, so the version before it is gone; "
        "replace files by renaming."
    )
