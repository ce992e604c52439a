"""The interface of a model process for the service; tests implement it with fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from model.engines.choose import Choice
from model.process.prepare import LoadRequest, Report
from model.tensors import Rows, View
from server.serving.process_start import Ended


class ProcessEnded(Exception):
    """The model process ended before it answered."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.text)
        self.ended = ended


class LoadRejected(Exception):
    """The model process could not load the model; the text says why."""


class ModelRaised(Exception):
    """The network raised an exception; the text is its type and message."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ModelRaised:
        """Return the error that a message contains, with the traceback of the model process."""
        error = cls(f"{fields.get('type')}: {fields.get('text')}")
        if trace := fields.get("trace"):
            error.add_note(f"In the model process:\n{trace}")
        return error


class ModelClient(Protocol):
    """A process with one version of one model in it; calls are made one at a time.

    Attributes:
        step: what the process is doing while it loads; "" once it has loaded.
        ended: a future that is done once the process has ended.
    """

    step: str
    ended: asyncio.Future[Ended]

    async def load(self, request: LoadRequest, within: float) -> Report:
        """Load a model within so many seconds; raises LoadRejected, ProcessEnded."""

    async def convert(self, request: LoadRequest, within: float) -> Choice:
        """Have other engines tried within so many seconds; raises LoadRejected, ProcessEnded."""

    async def call(self, parts: Sequence[Rows]) -> list[View]:
        """Answer `parts` by ONE call; raises ModelRaised, ProcessEnded, RowCountMismatch."""

    def kill(self, reason: str, text: str) -> None:
        """End the process now."""

    async def close(self) -> None:
        """Let the process end, and wait for it."""


StartProcess = Callable[[str], ModelClient]  # takes the model's name; raises OSError
