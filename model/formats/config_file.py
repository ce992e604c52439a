"""Reads the config of a `.keras` or `.h5` file, which may be damaged or hostile.

Only json, zipfile, h5py and numpy: Keras is not imported before the config is known.
"""

from __future__ import annotations

import io
import json
import math
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from model.formats.files import AGAIN, SAVE, ModelError, in_one_line, is_archive
from model.formats.stored_entry import StoredEntry

MAX_CONFIG = 64 << 20  # bytes; a vocabulary of a million words takes 20 MB
MAX_DEPTH = 200  # of dicts and lists in each other; an inner model adds five
MAX_ENTRIES = 100_000
# What takes this many bytes or fewer when read is no bomb, however well it is packed.
ALWAYS_READ = 64 << 20
MAX_RATIO = 100
CONFIG = "config.json"
KEEP = "not to its `vocabulary`, and save the model as .keras"
WEIGHTS = {"model.weights.h5", "model.weights.npz"}


def read_config(path: Path | str) -> dict[str, Any]:
    """Return the config of a file; raises ModelError when it is damaged, or holds no whole model.

    All of a `.keras` file is read, and its archive is checked. What the model consists of is not
    looked at.
    """
    path = Path(path)
    try:
        text = _config_of_archive(path) if is_archive(path) else _config_of_hdf5(path)
    except ModelError:
        raise
    except Exception as error:  # damaged bytes bring anything out of zipfile, zlib and HDF5
        raise ModelError(path, f"is cut off or damaged ({in_one_line(error)}); {AGAIN}") from error
    return _parse(path, text)


def _parse(path: Path, text: bytes | str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except RecursionError:
        raise ModelError(path, _too_deep()) from None
    except ValueError as error:
        raise ModelError(path, f"its config is no JSON ({error}); {AGAIN}") from error
    if not isinstance(found, dict):
        raise ModelError(path, f"its config is a {type(found).__name__}, so no model; {SAVE}")
    level: list[Any] = [found]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for parent in level
            for item in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return found
    raise ModelError(path, _too_deep())


def _too_deep() -> str:
    return f"its config is nested more than {MAX_DEPTH} levels deep; {SAVE}"


def _config_of_archive(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        _check_entries(path, archive.infolist())
        _check_sums(path, archive)
        names = set(archive.namelist())
        if CONFIG not in names:
            raise ModelError(path, f"is a zip archive without {CONFIG}, so no model; {SAVE}")
        if not names & WEIGHTS:
            raise ModelError(path, f"is a zip archive without weights, so no model; {SAVE}")
        _check_size(path, CONFIG, archive.getinfo(CONFIG).file_size)
        for info in archive.infolist():
            if info.filename.endswith(".h5"):
                _check_weights(path, archive, info)
            elif info.filename.endswith(".npz"):
                _check_npz(path, archive, info)
        return archive.read(CONFIG)


def _check_sums(path: Path, archive: zipfile.ZipFile) -> None:
    """Read all of it: Keras skips the checksums where it reads large weights piece by piece."""
    damaged = archive.testzip()
    if damaged is not None:
        raise ModelError(path, f"is damaged: the checksum of {damaged} is wrong; {AGAIN}")


def _check_size(path: Path, name: str, size: int) -> None:
    if size > MAX_CONFIG:
        why = f"{name} has {size >> 20} MiB, and at most {MAX_CONFIG >> 20} MiB are read"
        raise ModelError(
            path, f"{why}; give a large vocabulary to the layer's set_vocabulary, {KEEP}"
        )


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_ENTRIES:
        why = f"is a zip archive of {len(entries)} entries, and at most {MAX_ENTRIES} are read"
        raise ModelError(path, f"{why}; {SAVE}")
    seen: set[str] = set()
    for info in entries:
        name = info.filename
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[:1]:
            raise ModelError(path, f"its entry {name!r} leaves the archive; {SAVE}")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ModelError(path, f"its entry {name!r} is a link; {SAVE}")
        if name in seen:
            raise ModelError(path, f"has the entry {name!r} twice; {SAVE}")
        if info.flag_bits & 1:
            raise ModelError(path, f"its entry {name!r} is encrypted; {SAVE}")
        seen.add(name)
    unpacked, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
    _check_ratio(path, "its archive", unpacked, packed)


def _check_ratio(path: Path, what: str, unpacked: int, packed: int) -> None:
    """Raise ModelError where a few bytes would become very many."""
    if unpacked > ALWAYS_READ and unpacked > MAX_RATIO * packed:
        sizes = f"{packed} bytes would become {unpacked}"
        raise ModelError(path, f"{what} is a decompression bomb: {sizes}; {SAVE}")


def _check_weights(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    with archive.open(info) as file:  # it compares the two headers of the entry
        if info.compress_type != zipfile.ZIP_STORED:
            check_hdf5(path, io.BytesIO(file.read()), info.file_size)
            return
    with StoredEntry(path, info) as entry:
        check_hdf5(path, entry, info.file_size)


def _check_npz(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    with archive.open(info) as file, zipfile.ZipFile(io.BytesIO(file.read())) as inner:
        _check_entries(path, inner.infolist())
        for member in inner.infolist():
            with inner.open(member) as array:
                try:
                    shape, dtype = _npy_header(array)
                except ValueError as error:
                    why = f"{info.filename} has an entry {member.filename!r} that is no array"
                    raise ModelError(path, f"{why}; {SAVE}") from error
            if dtype.hasobject:
                why = f"{info.filename} has Python objects (pickles) in {member.filename!r}"
                raise ModelError(path, f"{why}, which could run code; {SAVE}")
            size = math.prod(shape) * dtype.itemsize
            _check_ratio(path, f"{member.filename!r} in {info.filename}", size, member.file_size)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    shape, _, dtype = (read if version == 1 else np.lib.format.read_array_header_2_0)(file)
    return shape, dtype


def _config_of_hdf5(path: Path) -> bytes | str:
    import h5py

    size = path.stat().st_size
    check_hdf5(path, path, size)
    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs or "model_weights" not in file:
            raise ModelError(path, f"does not hold a whole model, weights alone perhaps; {SAVE}")
        _check_size(path, "model_config", file.attrs.get_id("model_config").get_storage_size())
        found = file.attrs["model_config"]
    if not isinstance(found, (bytes, str)):
        raise ModelError(path, f"its model_config is no text; {SAVE}")
    _check_size(path, "model_config", len(found))
    return found


def check_hdf5(path: Path, source: Path | io.IOBase, size: int) -> None:
    """Raise ModelError where an HDF5 file reaches outside of itself, or is a bomb.

    `size`: its bytes.
    """
    import h5py

    with h5py.File(source, "r") as file:
        if file.userblock_size:
            raise ModelError(path, f"has {file.userblock_size} bytes before its HDF5 part; {SAVE}")
        seen: set[Any] = set()
        groups, unpacked = [file["/"]], 0
        while groups:
            group = groups.pop()
            if (address := h5py.h5o.get_info(group.id).addr) in seen:
                continue
            seen.add(address)
            for name in group:
                _check_link(path, group, name)
                item = group[name]
                if isinstance(item, h5py.Group):
                    groups.append(item)
                elif isinstance(item, h5py.Dataset):
                    _check_dataset(path, item)
                    unpacked += item.nbytes
        _check_ratio(path, "its HDF5 part", unpacked, size)


def _check_link(path: Path, group: Any, name: str) -> None:
    import h5py

    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        kind = "a link to another file" if isinstance(link, h5py.ExternalLink) else "a soft link"
        place = f"{group.name.rstrip('/')}/{name}"
        raise ModelError(path, f"{place} is {kind} in HDF5; {SAVE}")


def _check_dataset(path: Path, item: Any) -> None:
    if item.external:
        raise ModelError(path, f"{item.name} keeps its values in another file; {SAVE}")
    if item.is_virtual:
        raise ModelError(path, f"{item.name} is a virtual dataset of other files; {SAVE}")
