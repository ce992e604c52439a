"""The payload log: one JSON line a prediction."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from server.dialects.interface import Side
from server.dialects.redaction import REDACTED, Redacted, redact_all
from server.logs.format import Stamp
from server.logs.line_writer import LineWriter

LF: Final = 0x0A  # `in` finds an integer in bytes five times as fast as bytes
CR: Final = 0x0D


class Shown(NamedTuple):
    """One side of a prediction as its line shows it."""

    text: bytes


@dataclass(frozen=True)
class Display:
    """How inputs and predictions are shown.

    Attributes:
        max_bytes: longer ones are written as `null`, followed by their size.
        redact: see PayloadLog.
    """

    max_bytes: int
    redact: frozenset[str]

    def show(self, side: Side, value: bytes, redacted: Redacted) -> bytes:
        """Return a value as it is written, with a field for its size if it is too large."""
        if len(value) > self.max_bytes:
            return b'null,"%b_bytes":%d' % (side.encode(), len(value))
        if self.redact:
            return REDACTED if side in self.redact else redacted(side, value, self.redact)
        if LF in value or CR in value:  # between tokens; JSON has none in texts
            return value.replace(b"\n", b" ").replace(b"\r", b" ")
        return value


class PayloadLog:
    """One JSON line for every answered request.

    `destination` is a path, "" for standard output, or a file descriptor; it and the `options` are
    those of LineWriter. An answer gets a line if `draw`, which returns numbers from 0 up to 1, is
    below `sample_rate`. The values of inputs and outputs named in `redact` are hidden; the names
    `input` and `prediction` stand for all of them.

    Attributes:
        display: how inputs and predictions are shown.
    """

    def __init__(
        self,
        destination: str | int = "",
        *,
        max_bytes: int = 65_536,
        sample_rate: float = 1.0,
        draw: Callable[[], float] = random.random,
        redact: Collection[str] = (),
        **options: Any,
    ) -> None:
        self._sample_rate = sample_rate
        self._draw = draw
        self.display = Display(max_bytes, frozenset(redact))
        self._show = self.display.show
        self._stamp = Stamp()
        self._lines = LineWriter(destination, "payload", **options)
        self.close = self._lines.close

    @property
    def dropped(self) -> int:
        """The number of lines that were not written."""
        return self._lines.dropped

    def takes_next(self) -> bool:
        """Return whether the next answer gets a line; call it once for each answer."""
        return self._sample_rate >= 1 or self._draw() < self._sample_rate

    def write(
        self,
        *,
        request_id: str,
        model: str,
        version: str,
        input: bytes | Shown,
        prediction: bytes | Shown,
        ms: str,
        redacted: Redacted = redact_all,
    ) -> None:
        """Queue one line; never blocks. Call it from one thread only.

        `input`, `prediction` and `ms` are JSON and are written unchanged. An input or prediction of
        more than `max_bytes` bytes is written as `null`, followed by its size. `redacted` redacts
        them if there are names to hide. What is Shown already is not changed any more.
        """
        show = self._show
        self._lines.put(
            b'{"time":"%b","request_id":%b,%b"input":%b,"prediction":%b,"ms":%b}\n'
            % (
                self._stamp.at(time.time()).encode(),
                orjson.dumps(request_id),
                _names(model, version),
                input.text if isinstance(input, Shown) else show("input", input, redacted),
                prediction.text
                if isinstance(prediction, Shown)
                else show("prediction", prediction, redacted),
                ms.encode(),
            )
        )


@lru_cache(maxsize=8)
def _names(model: str, version: str) -> bytes:
    return b'"model":%b,"version":%b,' % (_json(model), _json(version))


def _json(text: str) -> bytes:
    """Return a string as JSON; file names may hold bytes that are not Unicode."""
    return orjson.dumps(text.encode(errors="replace").decode())
