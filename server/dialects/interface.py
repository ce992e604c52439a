"""What a dialect, a protocol for predictions, offers to the rest of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol

from model.tensors import Rows

Side = Literal["input", "prediction"]

NO_HEADERS: Final[Mapping[str, str]] = {}
DECODING_HEADERS: Final = ("content-type", "inference-header-content-length")  # `decode` reads them

# From this size on, decoding or encoding takes a millisecond or more, and up to 60 ms for 1 MB.
SLOW_JSON: Final = 256 * 2**10
# Arrays of bytes are copied at most: in 1 ms.
SLOW_BINARY: Final = 4 * 2**20


class Headers(Protocol):
    """A request's headers."""

    def get(self, name: str, default: str, /) -> str:
        """Return the header with this name, which is in lower case, or `default`."""


def decoding_headers(headers: Headers) -> dict[str, str]:
    """Return the headers that `Dialect.decode` reads, as a dict that can be pickled."""
    given = ((name, headers.get(name, "")) for name in DECODING_HEADERS)
    return {name: value for name, value in given if value}


class DecodedRequest(NamedTuple):
    """A request after decoding.

    Attributes:
        tensors: the rows.
        form: how the request was written, for `encode`; each dialect has its own type, which can
            be pickled.
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

    def with_query(self, request: DecodedRequest, query: str) -> DecodedRequest:
        """Return a request with what the query of its URL asks for; raises InvalidRequest."""

    def holds_pictures(self, body: bytes, headers: Headers) -> bool:
        """Return whether a body may have picture files, which only decoder processes decode."""

    def decodes_slowly(self, nbytes: int, headers: Headers) -> bool:
        """Return whether decoding a body of so many bytes would hold the event loop too long."""

    def answer_bytes(self, request: DecodedRequest) -> int:
        """Return the most bytes that the answer can have.

        Of outputs with variable dimensions or strings only the known part is counted.
        """

    def encode(self, answer: Rows, request: DecodedRequest) -> Encoded:
        """Write the answer to a request; raises NonFiniteOutput for NaN and infinity.

        Dialects that have a notation for such numbers write them instead.
        """

    def encodes_slowly(self, request: DecodedRequest, nbytes: int) -> bool:
        """Return whether encoding an answer of so many bytes would hold the event loop too long."""

    def input_excerpt(self, request: DecodedRequest, body: bytes) -> bytes:
        """Return the input of a request, as JSON, for the payload log."""

    def answer_excerpt(self, request: DecodedRequest, answer: bytes) -> bytes:
        """Return the prediction in an answer, as JSON, for the payload log."""

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
