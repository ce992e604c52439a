"""The only import of model.keras_model that serves."""

from __future__ import annotations

import gc
import sys

from model.keras_model import KerasModel, import_keras
from model.model_file import check_file
from server.serving.loading import Model, ModelFile


def load_model(file: ModelFile) -> Model:
    """Load a model's file; raises ModelError when it cannot be served."""
    if "keras" not in sys.modules:
        check_file(file.path, file.sha256 or None)  # told at once: the import takes seconds
        import_keras()
        gc.collect()
        # A full collection goes through all libraries: 160 ms. Models are not among them: they go.
        gc.freeze()
    return KerasModel.load(file.path, file.sha256 or None)
