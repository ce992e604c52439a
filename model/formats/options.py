"""What a user may set about how a model's file is loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadOptions:
    """Settings of one model that matter to loading it.

    Attributes:
        sha256: the expected hash in hexadecimal; "": it is not checked.
        signature: the signature of a SavedModel to serve; "": `serving_default`.
        imports: modules to import first, which define classes that the file names.
        allow_code: Python code in the file may run.
        keep_state: the state of recurrent layers is kept from call to call.
        threads: of the engine; 0: the library decides.
        eager: Keras calls the network layer by layer, because tracing it was found to be wrong.
    """

    sha256: str = ""
    signature: str = ""
    imports: tuple[str, ...] = ()
    allow_code: bool = False
    keep_state: bool = False
    threads: int = 0
    eager: bool = False
