"""Why Keras 3 does not load a file, in one line that begins with the cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.formats.allowed import ALLOW_CODE, needs_class
from model.formats.detect import keras_version, version_numbers
from model.formats.files import SAVE, in_one_line
from model.formats.imports import missing, unknown_name
from model.formats.keras3_h5 import AS_KERAS, operation_in
from model.formats.known_names import known_names


def why_not_loaded(
    error: Exception, path: Path | str, config: dict[str, Any], imports: tuple[str, ...]
) -> str:
    """Return the cause, and what to do; `error` is what Keras raised for the file."""
    text, is_h5 = str(error), Path(path).suffix != ".keras"
    if "safe_mode" in text:
        why = "has a part that could run code or read other files when it is loaded"
        return f"{why}; build it without, or, if you trust the file, {ALLOW_CODE}"
    operation = operation_in(config) if is_h5 else None
    if operation:
        return f"calls {operation} of keras.ops, which .h5 files lose; {AS_KERAS}"
    name = unknown_name(text)
    if name and imports:
        return missing(name, imports)
    if name in known_names().classes:
        why = f"needs {name}, which Keras 3 does not have"
        return f"{why}; build it of other layers, or export a SavedModel"
    if name:
        return needs_class(name)
    return f"{in_one_line(error)}; {_what_to_do(path, is_h5)}"


def _what_to_do(path: Path | str, is_h5: bool) -> str:
    from keras import __version__ as here

    written = keras_version(Path(path))
    if version_numbers(written) > version_numbers(here):
        return f"the file is of Keras {written}, newer than this one: save it with Keras {here}"
    if is_h5:
        return AS_KERAS
    if version_numbers(written) < version_numbers(here):
        return f"the file is of Keras {written}, older than this one: export a SavedModel with it"
    return SAVE
