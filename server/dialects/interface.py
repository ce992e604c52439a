"""What a dialect, a protocol for predictions, offers to the rest of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol

from model.tensors import Rows

Side = Literal["input", "prediction"]

NO_HEADERS: Final[Mapping[str, str]] = {}


class Headers(Protocol):
    """A request's headers."""

    def get(self, name: str, default: str, /) -> str:
        """Return the header with this name, which is in lower case, or `default`."""


class DecodedRequest(NamedTuple):
    """A request after decoding.

    Attributes:
        tensors: the rows.
        form: how the request was written, for `encode`; each dialect has its own type.
        timeout_ms: how long the client waits, if the body says so.
    """

    tensors: Rows
    form: Any
    timeout_ms: int | None = None


class Encoded(NamedTuple):
    """An answer as it is sent, with the headers of its dialect."""

    body: bytes
    content_type: str
    headers: Mapping[str, str]


class Dialect(Protocol):
    """One protocol, for one version of a model."""

    name: str
    schema: dict[str, Any]
    answer_schema: dict[str, Any]

    def check(self, headers: Headers) -> None:
        """Raise UnsupportedMediaType unless the dialect can read such a body."""

    def decode(self, body: bytes, headers: Headers) -> DecodedRequest:
        """Read a request; raises InvalidJSON and InvalidData."""

    def answer_bytes(self, request: DecodedRequest) -> int:
        """Return the most bytes that the answer can have.

        Of outputs with variable dimensions or strings only the known part is counted.
        """

    def encode(self, answer: Rows, request: DecodedRequest) -> Encoded:
        """Write the answer to a request; raises NonFiniteOutput for NaN and infinity.

        Dialects that have a notation for such numbers write them instead.
        """

    def excerpt(self, request: DecodedRequest, body: bytes, answer: bytes) -> tuple[bytes, bytes]:
        """Return input and prediction of an answered request, as JSON, for the payload log."""

    def redacted(self, side: Side, text: bytes, names: frozenset[str]) -> bytes:
        """Return one side of an excerpt without the values of the tensors in `names`.

        Only inputs and outputs of the model are left.
        """

    def request_body(self, rows: Rows) -> bytes:
        """Return the body of a request for a batch of these rows."""

    def example(self, rows: int = 2, *, variable_size: int = 2) -> bytes:
        """Return the body of a request with `rows` made-up rows, which a model may reject."""


class EncodedError(NamedTuple):
    """An error in the form of a dialect."""

    status: int
    body: bytes
    headers: Mapping[str, str]
