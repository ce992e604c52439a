"""A way to write requests and answers of the native dialect: JSON, or numpy's file format."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from model.tensors import Rows
from server.dialects.interface import DecodedRequest, Encoded


class Codec(Protocol):
    """Reads requests and writes answers in one media type."""

    def decode(self, body: bytes) -> DecodedRequest:
        """Read a request, whose form is a RequestForm; raises what `Dialect.decode` raises."""

    def answer_bytes(self, rows: int) -> int:
        """Return the most bytes that an answer with so many rows can have, as far as known."""

    def encode(self, answer: Rows, single: bool) -> Encoded:
        """Write the answer to a batch, or to a single example."""

    def excerpt(self, body: bytes, answer: bytes) -> tuple[bytes, bytes]:
        """Return input and prediction as JSON, for the payload log."""


class RequestForm(NamedTuple):
    """How a request was written, and so how its answer is.

    Attributes:
        codec: the codec of its media type.
        single: whether it is one example instead of a batch.
    """

    codec: Codec
    single: bool
