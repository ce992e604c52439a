"""All dialects and their paths. A new dialect is one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from model.signature import Signature
from server.config import PredictSettings
from server.dialects.interface import Dialect, EncodedError
from server.dialects.native import dialect as native
from server.dialects.native.dialect import NativeDialect
from server.dialects.tfserving import dialect as tfserving
from server.dialects.tfserving.dialect import TFServingDialect
from server.dialects.v2 import dialect as v2
from server.dialects.v2.dialect import V2Dialect


class DialectEntry(NamedTuple):
    """A dialect, independent of the model.

    Attributes:
        name: its name in the metrics.
        make: makes the Dialect of one version of a model.
        encode_error: returns an error in its form, for the request with this id.
        roots: paths; errors at these and below them have its form.
        paths: its paths for predictions, in OpenAPI's notation.
    """

    name: str
    make: Callable[[str, str, Signature, PredictSettings], Dialect]
    encode_error: Callable[[Exception, str], EncodedError]
    roots: tuple[str, ...]
    paths: tuple[str, ...]


def _native(_: str, __: str, signature: Signature, settings: PredictSettings) -> NativeDialect:
    return NativeDialect(signature, non_finite_as_null=settings.non_finite == "as_null")


def _v2(name: str, version: str, signature: Signature, settings: PredictSettings) -> V2Dialect:
    as_null = settings.non_finite == "as_null"
    return V2Dialect(name, version, signature, non_finite_as_null=as_null)


NATIVE: Final = DialectEntry(
    native.NAME,
    _native,
    native.encode_error,
    ("/",),
    ("/predict", "/models/{name}/predict", "/models/{name}/versions/{version}/predict"),
)
TFSERVING: Final = DialectEntry(
    tfserving.NAME,
    lambda _, __, signature, ___: TFServingDialect(signature),
    tfserving.encode_error,
    ("/v1",),
    ("/v1/models/{name}:predict", "/v1/models/{name}/versions/{version}:predict"),
)
V2: Final = DialectEntry(
    v2.NAME,
    _v2,
    v2.encode_error,
    ("/v2",),
    ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"),
)
DIALECTS: Final = (NATIVE, TFSERVING, V2)


class Dialects:
    """Every dialect for one version of a model.

    Attributes:
        by_name: all dialects.
        native: the native dialect.
    """

    def __init__(
        self, name: str, version: str, signature: Signature, settings: PredictSettings
    ) -> None:
        self.native = _native(name, version, signature, settings)
        self.by_name: Mapping[str, Dialect] = {
            entry.name: entry.make(name, version, signature, settings) for entry in DIALECTS
        } | {NATIVE.name: self.native}


def dialect_of(path: str) -> DialectEntry:
    """Return the dialect whose form errors at a path have."""
    for entry in DIALECTS:
        if entry is not NATIVE and f"{path}/".startswith(tuple(f"{root}/" for root in entry.roots)):
            return entry
    return NATIVE
