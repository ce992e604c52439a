"""Loads a model in its process: the only import of `model.formats.load` that serves."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from model.engines.interface import Engine
from model.formats.files import ModelError, ending_of
from model.formats.load import load_model
from model.process.prepare import LoadRequest

TEMPORARY: Final = "keras-batch-server-"  # `server.serving.leftovers` removes old ones


def load(request: LoadRequest) -> Engine:
    """Load a model's file or folder; raises ModelError when it cannot be served."""
    with with_ending(request) as path:
        return load_model(path, request.options)


@contextmanager
def with_ending(request: LoadRequest) -> Iterator[str]:
    """Yield a path of the model that has the ending that Keras goes by, `.keras` or `.h5`.

    A symbolic link leads to a file that has another one until the model is loaded. That is
    `/proc/PID/fd/N`, a file that was kept open and has been replaced since, or a `.hdf5`.
    """
    shown = Path(request.shown_path or request.path)
    path, ending = Path(request.path), ending_of(shown)
    if path.suffix == ending or not ending or os.path.isdir(path):  # noqa: PTH112  # it never raises
        with _named(path, shown):
            yield str(path)
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix=TEMPORARY, ignore_cleanup_errors=True)
    except OSError as error:
        why = f"no link to it can be made in the temporary folder ({error.strerror})"
        raise ModelError(shown, f"{why}; set TMPDIR to a folder that can be written") from error
    with folder:
        link = Path(folder.name) / f"model{ending}"
        link.symlink_to(path.absolute())
        with _named(link, shown):
            yield str(link)


@contextmanager
def _named(path: Path, shown: Path) -> Iterator[None]:
    """Have errors name the path that the user knows."""
    try:
        yield
    except ModelError as error:
        error.args = (str(error).replace(str(path), str(shown)),)
        raise
