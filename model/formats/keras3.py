"""Loads `.keras` and `.h5` files of Keras 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.engines.tensorflow import TensorFlowEngine
from model.formats.checked_config import build_from
from model.formats.files import ModelError, no_model
from model.formats.imports import own_objects
from model.formats.initial_values import no_large_initial_values
from model.formats.keras3_archive import load_archive
from model.formats.keras3_fixes import fix_layers
from model.formats.keras3_h5 import finalize, mend_config
from model.formats.keras3_messages import why_not_loaded
from model.formats.network import engine_of
from model.formats.options import LoadOptions
from model.formats.scopes import any_names_as_scopes


def load(path: Path | str, config: dict[str, Any], options: LoadOptions) -> TensorFlowEngine:
    """Load a file with its config as it was checked; raises ModelError.

    An exception of Keras that led to it is its cause.
    """
    import keras

    fix_layers()
    own = _layers_of_applications() | own_objects(path, options, "keras")
    is_h5 = Path(path).suffix != ".keras"
    if is_h5:
        config = mend_config(path, config)
    try:
        with any_names_as_scopes(), no_large_initial_values(path):
            model = _model_of(Path(path), config, own, safe_mode=not options.allow_code)
    except Exception as error:  # Keras has no class of errors for this
        raise ModelError(path, why_not_loaded(error, path, config, options.imports)) from error
    if not isinstance(model, keras.Model):
        raise ModelError(path, no_model(model))
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


def _layers_of_applications() -> dict[str, Any]:
    """Return the layers that some networks of `keras.applications` define for themselves.

    An `.h5` file has their names alone, and Keras does not find them by these.
    """
    from keras.src.applications import convnext, inception_resnet_v2

    layers = (
        *(convnext.LayerScale, convnext.StochasticDepth),
        inception_resnet_v2.CustomScaleLayer,
    )
    return {layer.__name__: layer for layer in layers}
