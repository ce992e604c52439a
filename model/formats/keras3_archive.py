"""Loads a `.keras` archive of Keras 3 without holding its weights in memory twice.

Keras' own loader first reads the whole file of weights into memory, or unpacks it into the folder
of the model. Here HDF5 reads it in place: Keras stores it uncompressed.

All names of `keras.src` that this needs are private; they are those of Keras 3.15.
"""

from __future__ import annotations

import io
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from model.formats.stored_entry import StoredEntry

WEIGHTS_H5: Final = "model.weights.h5"
WEIGHTS_NPZ: Final = "model.weights.npz"
ASSETS: Final = "assets"


def load_archive(
    path: Path | str, config: dict[str, Any], custom_objects: dict[str, Any], *, safe_mode: bool
) -> Any:
    """Build the model of `config`, and load the weights and assets of the archive into it.

    Raises what Keras raises.
    """
    from keras.src.saving import saving_lib
    from keras.src.saving.serialization_lib import ObjectSharingScope

    with zipfile.ZipFile(path) as archive, ExitStack() as stores:
        with ObjectSharingScope():
            model = saving_lib.deserialize_keras_object(config, custom_objects, safe_mode=safe_mode)
        names = archive.namelist()
        weights = _weights_store(archive, saving_lib)
        stores.callback(weights.close)
        assets = None
        if any(name.startswith(f"{ASSETS}/") for name in names):
            assets = saving_lib.DiskIOStore(ASSETS, archive=archive, mode="r")
            stores.callback(assets.close)
        failed: set[Any] = set()
        errors: dict[Any, Any] = {}
        saving_lib._load_state(
            model,
            weights_store=weights,
            assets_store=assets,
            inner_path="",
            visited_saveables=set(),
            failed_saveables=failed,
            error_msgs=errors,
        )
        if failed:
            saving_lib._raise_loading_failure(errors)
    return model


def _weights_store(archive: zipfile.ZipFile, saving_lib: Any) -> Any:
    if WEIGHTS_H5 not in archive.namelist():
        return saving_lib.NpzIOStore(WEIGHTS_NPZ, archive, mode="r")
    info = archive.getinfo(WEIGHTS_H5)
    if info.compress_type != zipfile.ZIP_STORED or archive.filename is None:
        return saving_lib.H5IOStore(io.BytesIO(archive.read(info)), mode="r")
    return saving_lib.H5IOStore(WEIGHTS_H5, archive=_InPlace(archive.filename, info), mode="r")


class _InPlace:
    """Stands for an archive, of which Keras opens the one entry."""

    def __init__(self, path: str, info: zipfile.ZipInfo) -> None:
        self._path = path
        self._info = info

    def open(self, _name: str, _mode: str) -> StoredEntry:
        return StoredEntry(self._path, self._info)
