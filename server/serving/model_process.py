"""How the main process handles a model process: loads a model in it, and calls the model."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from model.engines.choose import Choice
from model.process.messages import (
    INLINE_BYTES,
    Message,
    MessageError,
    merged_spec,
    pack,
    pack_shared,
    shared_size,
    views,
)
from model.process.prepare import LoadRequest, Report
from model.process.protocol import (
    CALL,
    ERROR,
    FAILED,
    LOAD,
    choice_of,
    load_fields,
    outputs_of,
    report_of,
)
from model.signature import Signature
from model.tensors import Rows, View, merge, split
from server.serving.child_process import ChildProcess
from server.serving.client import LoadRejected, ModelRaised
from server.serving.process_start import COMMAND

T = TypeVar("T")


class ModelProcess(ChildProcess):
    """A model process; calls are made one at a time."""

    what = "model process"

    def __init__(
        self, name: str, hang_timeout: float = 0.0, command: Sequence[str] = COMMAND
    ) -> None:
        """Start a process for the model `name`.

        A call may take `hang_timeout` seconds; 0 means no limit.

        Raises OSError when no process can be started.
        """
        super().__init__(logging.getLogger(f"model.{name}"), hang_timeout, command)
        self._signature: Signature | None = None

    async def load(self, request: LoadRequest, within: float = math.inf) -> Report:
        """Load a model within so many seconds; raises LoadRejected, ProcessEnded."""
        report = await self._requested(request, within, report_of)
        self._signature = report.signature
        self._output.is_loaded = True
        self.step = ""
        return report

    async def convert(self, request: LoadRequest, within: float = math.inf) -> Choice:
        """Have other engines tried within so many seconds; raises LoadRejected, ProcessEnded."""
        return await self._requested(request, within, choice_of)

    async def call(self, parts: Sequence[Rows]) -> list[View]:
        """Answer `parts`, all of one `row_shape`, by ONE call of the network.

        Raises ModelRaised, ProcessEnded, and RowCountMismatch.
        """
        assert self._signature is not None, "it has been loaded"
        try:
            message = await self._call_message(parts)
            self._hang.begin()
            reply = await self._ask(message)
            if reply.kind == ERROR:
                raise ModelRaised.of(reply.fields)
            answer = outputs_of(reply, self._signature)
        except (MessageError, OSError) as error:
            raise await self._broken(error) from error
        finally:
            self._hang.end()
        return split(answer, [len(part) for part in parts])

    async def _requested(
        self, request: LoadRequest, within: float, read: Callable[[Message], T]
    ) -> T:
        """Send a request to load, and read the answer."""
        late = self._load_takes_too_long
        timer = self._loop.call_later(within, late, within) if within < math.inf else None
        try:
            fields, arrays = load_fields(request)
            nbytes = sum(array.nbytes for array in arrays)
            reply = await self._ask(
                await self._in_thread_if_large(nbytes, pack, LOAD, arrays, self._requests, fields)
            )
            if reply.kind == FAILED:
                if detail := reply.fields.get("detail"):
                    self._log.debug("%s", detail)
                raise LoadRejected(str(reply.fields.get("reason", "")))
            return read(reply)
        except (MessageError, OSError) as error:
            raise await self._broken(error) from error
        finally:
            if timer:
                timer.cancel()

    async def _call_message(self, parts: Sequence[Rows]) -> bytes:
        nbytes = sum([part.nbytes for part in parts])
        if self._requests is None or nbytes <= INLINE_BYTES:
            return pack(CALL, self._merged(parts), self._requests)
        return await self._in_thread_if_large(nbytes, self._pack_shared, parts)

    def _merged(self, parts: Sequence[Rows]) -> list[np.ndarray]:
        assert self._signature is not None
        arrays = merge(parts).arrays
        return [arrays[spec.name] for spec in self._signature.inputs]

    def _pack_shared(self, parts: Sequence[Rows]) -> bytes:
        """Merge rows directly into shared memory; with strings, merge them before."""
        assert self._signature is not None
        assert self._requests is not None
        inputs = self._signature.inputs
        if any(spec.dtype == "string" for spec in inputs):
            return pack(CALL, self._merged(parts), self._requests)
        given = [part.arrays for part in parts]
        columns = [[arrays[spec.name] for arrays in given] for spec in inputs]
        specs = tuple([merged_spec(column) for column in columns])
        targets = views(self._requests.reserve(shared_size(specs)), specs)
        for column, target in zip(columns, targets, strict=True):
            np.concatenate(column, out=target)
        return pack_shared(CALL, specs)

    def _load_takes_too_long(self, seconds: float) -> None:
        text = f"not loaded within {seconds:g} s (model.load_timeout_s); last step: {self.step}"
        self.kill("load_timeout", text)
