"""What is said between the main process and a decoder process.

The messages are those of `model.process.messages`. Their kind is the name of a job, RESULT or
ERROR. The first array is a pickle (protocol 5); the others are the buffers that it refers to, such
as those of arrays, so that they are not copied into it. Both ends run the same code, and no byte of
a client is ever unpickled.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pickle import PickleBuffer
from typing import Any, Final

import numpy as np

READY: Final = "ready"
RESULT: Final = "result"
ERROR: Final = "error"
_PROTOCOL: Final = 5


class JobFailed(Exception):
    """A job raised an error that is no answer to a request: a bug."""


def arrays_of(value: Any) -> list[np.ndarray]:
    """Return a value as arrays of bytes; large buffers are not copied."""
    buffers: list[PickleBuffer] = []
    text = pickle.dumps(value, _PROTOCOL, buffer_callback=buffers.append)
    return [np.frombuffer(text, np.uint8), *(np.frombuffer(b.raw(), np.uint8) for b in buffers)]


def value_of(parts: Sequence[Any]) -> Any:
    """Return the value that `arrays_of` was given; its buffers are those in `parts`."""
    text, *buffers = parts
    return pickle.loads(text, buffers=buffers)  # noqa: S301  # made by `arrays_of` of our own process


def buffer(data: bytes) -> PickleBuffer:
    """Return bytes that `arrays_of` does not copy; `value_of` returns another bytes-like object."""
    return PickleBuffer(data)
