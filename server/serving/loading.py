"""What is known of a version once its model process has loaded it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from model.formats.options import LoadOptions
from model.process.batch_size import BatchSize
from model.process.prepare import Before, Golden, LoadRequest, Report
from model.signature import Signature
from server.config import ModelSource, Settings
from server.dialects.native.dialect import NativeDialect
from server.dialects.table import Dialects
from server.serving.versions import Origin


@dataclass(frozen=True)
class Example:
    """A request and the model's own answer to it, both as bodies."""

    summary: str
    request: bytes
    answer: bytes


@dataclass(frozen=True)
class Loaded:
    """A version that is loaded.

    Attributes:
        report: what its model process reported.
        dialects: decode and encode its tensors, one for each protocol.
    """

    report: Report
    dialects: Dialects

    @property
    def signature(self) -> Signature:
        return self.report.signature

    @property
    def batch_size(self) -> BatchSize:
        return self.report.batch_size

    @cached_property
    def examples(self) -> list[Example]:
        """The examples of the API documentation, made at the first use."""
        return [
            example_of(summary, self.dialects.native, golden)
            for summary, golden in zip(
                ("one example", "a batch of two"), self.report.golden, strict=False
            )
        ]

    @property
    def before(self) -> Before:
        """What the next version is compared with."""
        return Before(self.signature, self.batch_size, self.report.golden)


def loaded(name: str, version: str, report: Report, settings: Settings) -> Loaded:
    """Return what is known of a version, from the report of its process."""
    return Loaded(report, Dialects(name, version, report.signature, settings.predict))


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


def example_of(summary: str, dialect: NativeDialect, golden: Golden) -> Example:
    """Return an example as bodies; a single row is written as one example, not as a batch."""
    body = dialect.request_body(golden.rows, single=len(golden.rows) == 1)
    return Example(summary, body, dialect.encode(golden.answer, dialect.decode(body)).body)
