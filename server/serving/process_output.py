"""What a model process writes on its standard streams, as records of the service's log."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from typing import Final

READ_BYTES: Final = 8 * 2**10  # at a time: the event loop has other work
MAX_LINE: Final = 2_000  # characters

# glog's form, which TensorFlow's C++ writes: I0000 00:00:1795825388.724153 2579 file.cc:31] …
_GLOG: Final = re.compile(
    r"([IWEF])\d{4} [\d:.]+ +\d+ \S+\] |\d{4}-\d\d-\d\d [\d:.]+: ([IWEF]) "
    r"|(W)ARNING: All log messages before absl"
)


class ProcessOutput:
    """Reads the end `descriptor` of a pipe when the loop says so; a line becomes a record.

    Attributes:
        is_loaded: until the model is loaded, TensorFlow's own lines are at DEBUG: they are of use
            to nobody but who looks for a fault.
    """

    def __init__(
        self, descriptor: int, log: logging.Logger, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.is_loaded = False
        self._descriptor = descriptor
        self._log = log
        self._loop = loop
        self._line = b""
        os.set_blocking(descriptor, False)
        loop.add_reader(descriptor, self._read)

    def close(self) -> None:
        """Read what is left of a process that has ended, and close the pipe."""
        while self._read():
            continue
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._write(self._line)

    def _read(self) -> bool:
        """Read once; False when there is nothing more for now."""
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        if not data:
            self._loop.remove_reader(self._descriptor)
            return False
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > MAX_LINE:
            lines.append(self._line)
            self._line = b""
        for line in lines:
            self._write(line)
        return True

    def _write(self, line: bytes) -> None:
        if text := line[:MAX_LINE].decode(errors="replace").strip():
            self._log.log(self._level_of(text), "%s", text)

    def _level_of(self, text: str) -> int:
        found = _GLOG.match(text)
        if not found:
            return logging.INFO
        if not self.is_loaded or found[3]:
            return logging.DEBUG
        letter = found[1] or found[2]
        return {"I": logging.DEBUG, "W": logging.WARNING}.get(letter, logging.ERROR)
