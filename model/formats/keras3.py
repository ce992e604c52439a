"""Loads `.keras` and `.h5` files of Keras 3."""

from __future__ import annotations

import re
from pathlib import Path

from model.engines.tensorflow import TensorFlowEngine
from model.formats.files import ModelError, in_one_line
from model.formats.network import engine_of
from model.formats.options import LoadOptions


def load(path: Path | str, options: LoadOptions) -> TensorFlowEngine:
    """Load a file that `check_file` has accepted, and run no code out of it; raises ModelError.

    An exception of Keras that led to it is its cause.
    """
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras has no class of errors for this
        raise ModelError(path, _why_not_loaded(error)) from error
    if not isinstance(model, keras.Model):
        raise ModelError(path, f"holds a {type(model).__name__} where a model is expected")
    return engine_of(model, path, options)


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
