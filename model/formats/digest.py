"""The SHA-256 of a model, which `model.sha256` pins."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest_of(path: Path | str) -> str:
    """Return the SHA-256 of a file or a folder in hexadecimal; raises OSError.

    That of a folder is the SHA-256 of what `sha256sum` prints of all its files, whose paths are
    relative to the folder and sorted by their bytes.
    """
    path = Path(path)
    if not path.is_dir():
        return _of_file(path)
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    names = sorted(files, key=_bytes)
    lines = [f"{_of_file(files[name])}  ".encode() + _bytes(name) + b"\n" for name in names]
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
