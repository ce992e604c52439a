"""Loads `.keras` and `.h5` files of Keras 3."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from model.engines.tensorflow import TensorFlowEngine
from model.formats.checked_config import build_from
from model.formats.files import ModelError, in_one_line
from model.formats.network import engine_of
from model.formats.options import LoadOptions


def _builder(path: Path) -> tuple[Any, str]:
    """Return the module and the name of the function that builds a model of a config.

    Neither is public; they are those of Keras 3.15.
    """
    if path.suffix == ".keras":
        from keras.src.saving import saving_lib

        return saving_lib, "deserialize_keras_object"
    from keras.src.legacy.saving import saving_utils

    return saving_utils, "model_from_config"


def load(path: Path | str, config: dict[str, Any], options: LoadOptions) -> TensorFlowEngine:
    """Load a file with its config as it was checked; raises ModelError.

    An exception of Keras that led to it is its cause.
    """
    import keras

    try:
        with build_from(config, *_builder(Path(path))):
            model = keras.saving.load_model(path, compile=False, safe_mode=not options.allow_code)
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
