"""From the path of a model to an engine: check, detect the format, load."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from model.engines.batch_engine import BatchEngine
from model.engines.tensorflow import TensorFlowEngine, set_threads
from model.formats import keras2, keras3, onnx, saved_model
from model.formats.allowed import check_allowed
from model.formats.detect import Format, detect
from model.formats.files import ModelError, check_file, ending_of
from model.formats.options import LoadOptions

__all__ = ["BatchEngine", "LoadOptions", "ModelError", "load_model"]

DEFAULTS = LoadOptions()

KERAS: dict[Format, Callable[[Path | str, dict[str, Any], LoadOptions], TensorFlowEngine]] = {
    Format.KERAS_3: keras3.load,
    Format.KERAS_2: keras2.load,
}


def load_model(path: Path | str, options: LoadOptions = DEFAULTS) -> BatchEngine:
    """Load a model from a local file or folder; raises ModelError.

    No code out of the file runs, unless `options.allow_code` says so. Everything that can be
    checked without the library that loads it is checked before that is imported.
    """
    config = check(path, options)
    kind = detect(path)
    if kind is Format.ONNX:
        return onnx.load(path, options)
    if kind is Format.KERAS_2:
        keras2.keep_keras_3_out()
    set_threads(options.threads)
    if config is None:
        return saved_model.load(path, options)
    return KERAS[kind](path, config, options)


def check(path: Path | str, options: LoadOptions = DEFAULTS) -> dict[str, Any] | None:
    """Return the config to build the model from, or None for other formats; raises ModelError."""
    check_file(path, options.sha256 or None)
    if ending_of(path) == ".onnx" and not Path(path).is_dir():
        return None
    if find_spec("tensorflow") is None:
        why = "needs TensorFlow, which is not installed here; convert it to .onnx where it is"
        raise ModelError(path, why)
    return None if Path(path).is_dir() else check_allowed(path, options)
