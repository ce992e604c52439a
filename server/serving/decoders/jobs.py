"""What a decoder process can do: functions by name, whose arguments and results can be pickled.

A dialect cannot be pickled, so jobs get the recipe of the dialects of a version (`recipe_of`).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from model.signature import Signature
from model.tensors import Rows, Tensors
from server.config import PredictSettings
from server.config.inputs import InputSettings
from server.dialects.interface import DecodedRequest
from server.dialects.labels import NO_LABELS, Labels
from server.dialects.table import Dialects
from server.logs.payload import Display, Shown
from server.serving.decoders.protocol import buffer

DECODE: Final = "decode"
ENCODE: Final = "encode"
_VERSIONS: Final = 16  # versions of models whose dialects are kept


class Decoded(NamedTuple):
    """A request, the size of its tensors, and what the payload log shows of it."""

    request: DecodedRequest
    nbytes: int
    shown: Shown | None


class EncodedAnswer(NamedTuple):
    """An answer as it is sent, and what the payload log shows of it."""

    body: bytes
    content_type: str
    headers: Mapping[str, str]
    shown: Shown | None


def recipe_of(
    name: str,
    version: str,
    signature: Signature,
    settings: PredictSettings,
    labels: Mapping[str, Labels] = NO_LABELS,
    inputs: Sequence[InputSettings] = (),
) -> bytes:
    """Return what the dialects of a version are made from."""
    return pickle.dumps((name, version, signature, settings, dict(labels), inputs))


def decode(
    recipe: bytes,
    dialect_name: str,
    headers: Mapping[str, str],
    display: Display | None,
    body: memoryview,
) -> Decoded:
    """Read a request as `Dialect.decode` does; `display` is that of the payload log, if it is on.

    Raises the errors of `Dialect.decode`.
    """
    dialect = dialects_of(recipe).by_name[dialect_name]
    text = bytes(body)
    request = dialect.decode(text, headers)
    tensors = Tensors(request.tensors.arrays)
    shown = None
    if display is not None:
        excerpt = dialect.input_excerpt(request, text)
        shown = Shown(display.show("input", excerpt, dialect.redacted))
    return Decoded(request._replace(tensors=tensors), tensors.nbytes, shown)


def encode(
    recipe: bytes, dialect_name: str, form: Any, display: Display | None, answer: Rows
) -> EncodedAnswer:
    """Write the answer to a request of this form as `Dialect.encode` does.

    Raises NonFiniteOutput.
    """
    dialect = dialects_of(recipe).by_name[dialect_name]
    request = DecodedRequest(answer, form)  # the tensors of the request are not needed any more
    body, content_type, headers = dialect.encode(answer, request)
    shown = None
    if display is not None:
        excerpt = dialect.answer_excerpt(request, body)
        shown = Shown(display.show("prediction", excerpt, dialect.redacted))
    # The buffer arrives as bytes: see `DecoderProcess`.
    return EncodedAnswer(buffer(body), content_type, headers, shown)  # type: ignore[arg-type]  # as above


@lru_cache(_VERSIONS)
def dialects_of(recipe: bytes) -> Dialects:
    """Return the dialects of a version; making them takes milliseconds."""
    return Dialects(*pickle.loads(recipe))  # noqa: S301  # made by `recipe_of` of our own process


JOBS: Final[Mapping[str, Callable[..., Any]]] = {DECODE: decode, ENCODE: encode}
