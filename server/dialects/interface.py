"""What every protocol that predicts is to the rest of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol

from model.tensors import Rows

Side = Literal["input", "prediction"]

NO_HEADERS: Final[Mapping[str, str]] = {}


class Headers(Protocol):
    """A request's headers."""

    def get(self, name: str, default: str, /) -> str:
        """Return the value of the header with this name, in lower case, or `default`."""


class DecodedRequest(NamedTuple):
    """What a request said.

    Attributes:
        tensors: the rows, or the one row.
        form: whatever the dialect needs to answer in the form of the request.
        timeout_ms: how long the client waits, if the body says so.
    """

    tensors: Rows
    form: Any
    timeout_ms: int | None = None


class Encoded(NamedTuple):
    """An answer as it is sent, with the headers that belong to this dialect."""

    body: bytes
    content_type: str
    headers: Mapping[str, str]


class Dialect(Protocol):
    """One protocol, spoken for one version of a model."""

    name: str
    schema: dict[str, Any]
    answer_schema: dict[str, Any]

    def check(self, headers: Headers) -> None:
        """Raise UnsupportedMediaType for a body that is not read."""

    def decode(self, body: bytes, headers: Headers) -> DecodedRequest:
        """Read a request; raises InvalidJSON and InvalidData."""

    def encode(self, answer: Rows, request: DecodedRequest) -> Encoded:
        """Write the answer to a request; raises NonFiniteOutput for NaN and infinity.

        Dialects that have a notation for such numbers write them instead.
        """

    def excerpt(self, request: DecodedRequest, body: bytes, answer: bytes) -> tuple[bytes, bytes]:
        """Return input and prediction of an answered request, as JSON, for the payload log."""

    def redacted(self, side: Side, text: bytes, names: frozenset[str]) -> bytes:
        """Return one side of an excerpt without the values of what is called in `names`.

        Nothing is left that is neither an input nor an output.
        """

    def example(self, rows: int = 2, *, variable_size: int = 2) -> bytes:
        """Return the body of a valid request with so many rows."""


class Refusal(NamedTuple):
    """How a dialect tells an error."""

    status: int
    body: bytes
    headers: Mapping[str, str]
