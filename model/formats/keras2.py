"""Loads `.keras` and `.h5` files of Keras 2 with the package `tf_keras`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from model.engines.tensorflow import TensorFlowEngine
from model.formats.batch_statistics import layer_with_batch_statistics
from model.formats.checked_config import build_from
from model.formats.files import ModelError, in_one_line, no_model
from model.formats.grouped_convolution import use_own_kernels_in_keras_2
from model.formats.imports import missing, own_objects, unknown_name
from model.formats.initial_values import no_large_initial_values
from model.formats.keras2_config import as_keras_2
from model.formats.network import engine_of
from model.formats.options import LoadOptions
from model.formats.scopes import any_names_as_scopes


def keep_keras_3_out() -> None:
    """Have TensorFlow import tf_keras with itself, where it would import Keras 3; once a process.

    TensorFlow reads this variable when it is imported, and again for `tf.keras`, which classes of
    the user may be made of.
    """
    if "tensorflow" not in sys.modules:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"


def _builder(path: Path) -> tuple[Any, str]:
    """Return the module and the name of the function that builds a model of a config.

    Neither is public; they are those of tf_keras 2.21.
    """
    if path.suffix == ".keras":
        from tf_keras.src.saving import saving_lib

        return saving_lib, "deserialize_keras_object"
    from tf_keras.src.saving.legacy import model_config

    return model_config, "model_from_config"


def _normalizes_by_the_batch(layer: str) -> str:
    why = f"the BatchNormalization {layer!r} is called with training=True, so answers depend on"
    return f"{why} the other rows of a batch; build the model without it, and save it again"


def load(path: Path | str, config: dict[str, Any], options: LoadOptions) -> TensorFlowEngine:
    """Load a file with its config as it was checked; raises ModelError.

    Keras 3 reads many of these files too, but computes some of their layers otherwise.
    """
    import tf_keras

    use_own_kernels_in_keras_2()
    own = own_objects(path, options, "tf_keras")
    config = as_keras_2(path, config)
    normalizing = layer_with_batch_statistics(config)
    if normalizing is not None:
        raise ModelError(path, _normalizes_by_the_batch(normalizing))
    try:
        build = build_from(config, *_builder(Path(path)))
        with any_names_as_scopes(), build, no_large_initial_values(path):
            model = tf_keras.models.load_model(
                path, custom_objects=own, compile=False, safe_mode=not options.allow_code
            )
    except Exception as error:  # Keras has no class of errors for this
        name = unknown_name(str(error))
        why = f"{in_one_line(error)}; export a SavedModel with the TensorFlow that wrote it"
        if name and options.imports:
            why = missing(name, options.imports)
        raise ModelError(path, why) from error
    if not isinstance(model, tf_keras.Model):
        raise ModelError(path, no_model(model))
    for layer in model._flatten_layers():
        layer.finalize_state()  # a Discretization in a `.keras` file has no bins before
    return engine_of(model, path, options)
