"""All dialects and their paths. A new dialect is one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from model.signature import Signature
from server.config import PredictSettings
from server.config.inputs import InputSettings
from server.dialects.interface import Dialect, EncodedError
from server.dialects.labels import NO_LABELS, Labels
from server.dialects.native import dialect as native
from server.dialects.native.dialect import NativeDialect
from server.dialects.pictures.reader import Pictures
from server.dialects.tfserving import dialect as tfserving
from server.dialects.tfserving.dialect import TFServingDialect
from server.dialects.v2 import dialect as v2
from server.dialects.v2.dialect import V2Dialect

# Makes a Dialect of the name and version of a model, its signature, settings, the labels of its
# outputs, and the pictures that its inputs take.
Make = Callable[[str, str, Signature, PredictSettings, Mapping[str, Labels], Pictures], Dialect]


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
    make: Make
    encode_error: Callable[[Exception, str], EncodedError]
    roots: tuple[str, ...]
    paths: tuple[str, ...]


def _native(
    _: str,
    __: str,
    signature: Signature,
    settings: PredictSettings,
    labels: Mapping[str, Labels],
    pictures: Pictures,
) -> NativeDialect:
    as_null = settings.non_finite == "as_null"
    return NativeDialect(signature, non_finite_as_null=as_null, labels=labels, pictures=pictures)


def _tfserving(
    _: str,
    __: str,
    signature: Signature,
    ___: PredictSettings,
    ____: Mapping[str, Labels],
    pictures: Pictures,
) -> TFServingDialect:
    return TFServingDialect(signature, pictures)


def _v2(
    name: str,
    version: str,
    signature: Signature,
    settings: PredictSettings,
    labels: Mapping[str, Labels],
    pictures: Pictures,
) -> V2Dialect:
    return V2Dialect(
        name,
        version,
        signature,
        non_finite_as_null=settings.non_finite == "as_null",
        labels=labels,
        pictures=pictures,
    )


NATIVE: Final = DialectEntry(
    native.NAME,
    _native,
    native.encode_error,
    ("/",),
    ("/predict", "/models/{name}/predict", "/models/{name}/versions/{version}/predict"),
)
TFSERVING: Final = DialectEntry(
    tfserving.NAME,
    _tfserving,
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
        pictures: the inputs that take pictures.
    """

    def __init__(
        self,
        name: str,
        version: str,
        signature: Signature,
        settings: PredictSettings,
        labels: Mapping[str, Labels] = NO_LABELS,
        inputs: Sequence[InputSettings] = (),
    ) -> None:
        """Make the dialects; raises ConfigError if the settings of inputs do not fit them."""
        self.pictures = Pictures(signature, inputs, settings.max_image_pixels)
        parts = (name, version, signature, settings, labels, self.pictures)
        self.native = _native(*parts)
        self.by_name: Mapping[str, Dialect] = {NATIVE.name: self.native} | {
            entry.name: entry.make(*parts) for entry in DIALECTS if entry is not NATIVE
        }


def dialect_of(path: str) -> DialectEntry:
    """Return the dialect whose form errors at a path have."""
    for entry in DIALECTS:
        if entry is not NATIVE and f"{path}/".startswith(tuple(f"{root}/" for root in entry.roots)):
            return entry
    return NATIVE
