"""Which format a model's file or folder has."""

from __future__ import annotations

import json
import zipfile
from enum import Enum
from pathlib import Path
from typing import Any

from model.formats.files import ending_of, is_archive


class Format(Enum):
    """Who wrote it."""

    KERAS_3 = "keras3"
    KERAS_2 = "keras2"
    SAVED_MODEL = "saved_model"
    ONNX = "onnx"


def detect(path: Path | str) -> Format:
    """Return the format of what `check_file` has accepted.

    Keras 3 always writes its version; a file without one is older.
    """
    path = Path(path)
    if path.is_dir():
        return Format.SAVED_MODEL
    if ending_of(path) == ".onnx":
        return Format.ONNX
    return Format.KERAS_3 if major(keras_version(path)) >= 3 else Format.KERAS_2


def keras_version(path: Path) -> str:
    """Return the version of Keras that wrote a `.keras` or `.h5` file; "" if it does not say."""
    if is_archive(path):
        with zipfile.ZipFile(path) as archive:
            if "metadata.json" not in archive.namelist():
                return ""
            found = _parsed(archive.read("metadata.json"))
        return str(found.get("keras_version", "")) if isinstance(found, dict) else ""
    import h5py  # only here: `.h5` is rare

    with h5py.File(path, "r") as file:
        version = file.attrs.get("keras_version", "")
    return version.decode(errors="replace") if isinstance(version, bytes) else str(version)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def major(version: str) -> int:
    """Return the 3 of "3.15.1"; 0 for what is no version."""
    number = version.partition(".")[0]
    return int(number) if number.isdecimal() else 0


def version_numbers(text: str) -> tuple[int, int, int]:
    """Return (3, 15, 1) for "3.15.1"; 0 for parts that are missing."""
    parts = [major(part) for part in [*text.split(".")[:3], "", "", ""]]
    return parts[0], parts[1], parts[2]
