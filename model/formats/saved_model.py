"""Loads SavedModel folders with TensorFlow: no Python class is needed for them."""

from __future__ import annotations

from pathlib import Path

from model.engines.tensorflow import TensorFlowEngine
from model.formats.files import SAVE, ModelError
from model.formats.options import LoadOptions


def load(path: Path | str, options: LoadOptions) -> TensorFlowEngine:
    """Load the signature `options.signature` of a folder; raises ModelError."""
    name = options.signature or "serving_default"
    raise ModelError(path, f"is a SavedModel folder ({name}), not a file; {SAVE}")
