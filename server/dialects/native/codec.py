"""A way to write requests and answers of the native dialect: JSON, or numpy's file format."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from model.tensors import Rows
from server.dialects.interface import DecodedRequest, Encoded


class Codec(Protocol):
    """Reads requests and writes answers in one media type."""

    def decode(self, body: bytes) -> DecodedRequest:
        """Read a request, whose form is a RequestForm; raises what `Dialect.decode` raises."""

    def answer_bytes(self, rows: int, form: RequestForm) -> int:
        """Return the most bytes that an answer with so many rows can have, as far as known."""

    def encode(self, answer: Rows, form: RequestForm) -> Encoded:
        """Write the answer to a request of this form."""

    def input_excerpt(self, body: bytes) -> bytes:
        """Return the input as JSON, for the payload log."""

    def answer_excerpt(self, answer: bytes) -> bytes:
        """Return the prediction as JSON, for the payload log."""


class RequestForm(NamedTuple):
    """How a request was written, and so how its answer is.

    Attributes:
        media_type: tells its codec.
        single: whether it is one example instead of a batch.
        raw: whether its answer has numbers where there are labels for them.
    """

    media_type: str
    single: bool
    raw: bool = False
