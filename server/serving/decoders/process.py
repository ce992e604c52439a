"""How the main process handles a decoder process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any, Final

from model.process.messages import (
    Header,
    MessageError,
    arrays_inline,
    pack,
    shared_size,
    starts,
)
from server.serving.child_process import ChildProcess
from server.serving.decoders.protocol import ERROR, arrays_of, value_of

COMMAND: Final = (sys.executable, "-P", "-m", "server.serving.decoders")


class DecoderProcess(ChildProcess):
    """A decoder process; jobs are done one at a time."""

    what = "decoder process"

    def __init__(self, hang_timeout: float = 0.0, command: Sequence[str] = COMMAND) -> None:
        """Start a process; a job may take `hang_timeout` seconds, 0: no limit. Raises OSError."""
        super().__init__(logging.getLogger("decoder"), hang_timeout, command)
        self._ready = self._expect_reply()

    async def ready(self) -> None:
        """Wait until it can do jobs; raises ProcessEnded."""
        await self._ready
        self.step = ""
        self._output.is_loaded = True

    async def run(self, name: str, arguments: Sequence[Any], nbytes: int) -> Any:
        """Do a job in the process, and return its result; `nbytes` is about what it takes.

        Buffers in the result are bytes. Raises what the job raises, and ProcessEnded.
        """
        try:
            message = await self._in_thread_if_large(nbytes, self._packed, name, arguments)
            self._hang.begin()
            header, payload = await self._reply_to(message)
            self._hang.end()
            size = max(shared_size(header.specs), nbytes if header.shared else 0)
            result = await self._in_thread_if_large(size, self._unpacked, header, payload)
        except (MessageError, OSError) as error:
            raise await self._broken(error) from error
        finally:
            self._hang.end()
        if header.kind == ERROR:
            raise result
        return result

    def _packed(self, name: str, arguments: Sequence[Any]) -> bytes:
        return pack(name, arrays_of(arguments), self._requests)

    def _unpacked(self, header: Header, payload: bytes) -> Any:
        if not header.shared:
            parts = [array.tobytes() for array in arrays_inline(header.specs, payload)]
            return value_of(parts)
        if self._answers is None:
            raise MessageError("there is no shared memory")
        places = zip(starts(header.specs), header.specs, strict=True)
        parts = [self._answers.copy(start, spec.nbytes) for start, spec in places]
        if any(len(part) != spec.nbytes for part, spec in zip(parts, header.specs, strict=True)):
            raise MessageError("the shared memory ends early")
        return value_of(parts)
