"""Loads a model in its process: the only import of `model.formats.load` that serves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from model.engines.interface import Engine
from model.formats.files import ModelError
from model.formats.load import load_model
from model.process.prepare import LoadRequest

TEMPORARY: Final = "keras-batch-server-"  # `server.serving.leftovers` removes old ones


def load(request: LoadRequest) -> Engine:
    """Load a model's file or folder; raises ModelError when it cannot be served."""
    with with_ending(request) as path:
        return load_model(path, request.options)


@contextmanager
def with_ending(request: LoadRequest) -> Iterator[str]:
    """Yield a path of the file that has its ending, which Keras goes by.

    A file that was kept open, and has been replaced since, is `/proc/PID/fd/N`: a symbolic link
    leads there until the model is loaded.
    """
    shown = Path(request.shown_path or request.path)
    if Path(request.path).suffix == shown.suffix:
        yield request.path
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix=TEMPORARY, ignore_cleanup_errors=True)
    except OSError as error:
        why = f"was replaced, and loading what it was needs a temporary folder: {error}"
        raise ModelError(shown, why) from error
    with folder:
        link = Path(folder.name) / f"model{shown.suffix}"
        link.symlink_to(request.path)
        try:
            yield str(link)
        except ModelError as error:
            error.args = (str(error).replace(str(link), str(shown)),)
            raise
