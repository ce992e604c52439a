"""Loads `.keras` and `.h5` files of Keras 2 with the package `tf_keras`."""

from __future__ import annotations

from pathlib import Path

from model.engines.tensorflow import TensorFlowEngine
from model.formats.files import ModelError, in_one_line
from model.formats.network import engine_of
from model.formats.options import LoadOptions


def load(path: Path | str, options: LoadOptions) -> TensorFlowEngine:
    """Load a file that `check_file` has accepted; raises ModelError.

    Keras 3 reads many of these files too, but computes some of their layers otherwise.
    """
    import tf_keras

    try:
        model = tf_keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras has no class of errors for this
        why = f"Keras 2 cannot load it: {in_one_line(error)}"
        raise ModelError(path, why) from error
    if not isinstance(model, tf_keras.Model):
        raise ModelError(path, f"holds a {type(model).__name__} where a model is expected")
    return engine_of(model, path, options)
