"""From the path of a model to an engine: check, detect the format, load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from model.engines.tensorflow import TensorFlowEngine, set_threads
from model.formats import keras2, keras3, saved_model
from model.formats.detect import Format, detect
from model.formats.files import ModelError, check_file
from model.formats.options import LoadOptions

__all__ = ["LoadOptions", "ModelError", "TensorFlowEngine", "load_model"]

DEFAULTS = LoadOptions()

LOADERS: dict[Format, Callable[[Path | str, LoadOptions], TensorFlowEngine]] = {
    Format.KERAS_3: keras3.load,
    Format.KERAS_2: keras2.load,
    Format.SAVED_MODEL: saved_model.load,
}


def load_model(path: Path | str, options: LoadOptions = DEFAULTS) -> TensorFlowEngine:
    """Load a model from a local file or folder; raises ModelError.

    No code out of the file runs, unless `options.allow_code` says so. Everything that can be
    checked without the library that loads it is checked before that is imported.
    """
    check_file(path, options.sha256 or None)
    found = detect(path)
    if options.threads:
        set_threads(options.threads)
    return LOADERS[found](path, options)
