"""Loads `.keras` and `.h5` files of Keras 3."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from model.engines.tensorflow import TensorFlowEngine
from model.formats.checked_config import build_from
from model.formats.files import ModelError, in_one_line
from model.formats.initial_values import no_large_initial_values
from model.formats.keras3_archive import load_archive
from model.formats.keras3_h5 import AS_KERAS, finalize, mend_config, operation_in
from model.formats.network import engine_of
from model.formats.options import LoadOptions


def load(path: Path | str, config: dict[str, Any], options: LoadOptions) -> TensorFlowEngine:
    """Load a file with its config as it was checked; raises ModelError.

    An exception of Keras that led to it is its cause.
    """
    import keras

    is_h5 = Path(path).suffix != ".keras"
    if is_h5:
        config = mend_config(path, config)
    try:
        with no_large_initial_values(path):
            model = _model_of(Path(path), config, {}, safe_mode=not options.allow_code)
    except Exception as error:  # Keras has no class of errors for this
        why = _why_not_from_h5(error, config) if is_h5 else _why_not_loaded(error)
        raise ModelError(path, why) from error
    if not isinstance(model, keras.Model):
        raise ModelError(path, f"holds a {type(model).__name__} where a model is expected")
    if is_h5:
        finalize(model)
    return engine_of(model, path, options)


def _model_of(
    path: Path, config: dict[str, Any], custom_objects: dict[str, Any], *, safe_mode: bool
) -> Any:
    if path.suffix == ".keras":
        return load_archive(path, config, custom_objects, safe_mode=safe_mode)
    import keras
    from keras.src.legacy.saving import saving_utils  # not public; as in Keras 3.15

    with build_from(config, saving_utils, "model_from_config"):
        return keras.saving.load_model(path, custom_objects, compile=False, safe_mode=safe_mode)


def _why_not_from_h5(error: Exception, config: dict[str, Any]) -> str:
    operation = operation_in(config)
    if operation is not None:
        return f"has the operation {operation}, which an .h5 file cannot hold; {AS_KERAS}"
    return f"Keras cannot load it from an .h5 file ({in_one_line(error)}); {AS_KERAS}"


def _why_not_loaded(error: Exception) -> str:
    text = str(error)
    if "safe_mode" in text:
        what = "Lambda layer" if "`Lambda` layer" in text else "part"
        return (
            f"has a {what} with Python code in it, which could do anything on this machine and "
            "is never run; build it of Keras' own layers and `keras.ops`, and save it again"
        )
    unknown = re.search(
        r"Could not locate (?:class|function) '([^']+)'|Unknown \w+: '([^']+)'", text
    )
    if unknown:
        name = unknown[1] or unknown[2]
        return f"needs {name}, which Keras does not know; build it of Keras' own layers instead"
    return (
        f"Keras cannot load it ({in_one_line(error)}); "
        "save the model again with this version of Keras"
    )
