"""Where the versions of a model lie: one file, or a folder with numbered files or sub-folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from model.formats.files import ModelError
from server.config import ModelSource
from server.serving.kept_file import KeptFile

FIRST = "1"
ENDINGS = (".keras", ".h5")

_NUMBER = re.compile(r"[0-9]{1,18}")


class VersionFile(NamedTuple):
    """A file, and the version that its content is.

    Attributes:
        path: what is named in messages.
        source: the settings that it was found by.
        state: changes when the file does.
    """

    path: str
    version: str
    source: ModelSource
    state: tuple[int, ...]


@dataclass(frozen=True)
class Origin:
    """Where a version was loaded from, and the file that was kept open of it."""

    file: VersionFile
    kept: KeptFile | None = field(default=None, compare=False)

    @property
    def path(self) -> str:
        """What to load it from: its path, or what was kept where another file is there now."""
        if self.kept is not None and state_of(Path(self.file.path)) != self.file.state:
            return str(self.kept.path)
        return self.file.path

    def is_there(self) -> bool:
        """Return whether the content that was loaded can be loaded again."""
        if state_of(Path(self.file.path)) == self.file.state:
            return True
        return self.kept is not None and self.kept.is_unchanged()


def files_of(source: ModelSource, count: int, newest: str) -> list[VersionFile]:
    """Return what is there to be loaded, the newest version first; raises ModelError.

    Of a folder these are the `count` highest numbers, or the one version that `source` names. The
    content of a single file is the version after `newest`, the last one that it had, if any.
    """
    path = Path(source.path)
    found = dict(sorted(_numbered(path), reverse=True)) if path.is_dir() else {}
    if not found:
        version = after(newest) if newest else source.version or FIRST
        return [VersionFile(source.path, version, source, state_of(path))]
    if source.version:
        if not source.version.isdigit() or int(source.version) not in found:
            raise ModelError(path, f"has no version {source.version}")
        found = {int(source.version): found[int(source.version)]}
    elif source.sha256:
        raise ModelError(path, "has several versions; say which of them the SHA-256 is of")
    return [
        VersionFile(str(file), str(number), source, state_of(file))
        for number, file in list(found.items())[:count]
    ]


def after(version: str) -> str:
    """Return the version that comes next: of `7` it is `8`, of `a` it is `a.2`."""
    before, dot, number = version.rpartition(".")
    if _NUMBER.fullmatch(number):
        return f"{before}{dot}{int(number) + 1}"
    return f"{version}.2"


def rank(version: str) -> tuple[int, str]:
    """Return what versions are sorted by: numbers as numbers."""
    return len(version), version


def state_of(path: Path) -> tuple[int, ...]:
    """Return what tells a file from one that has been put in its place."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # loading it says what is wrong
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the versions in a folder; raises ModelError where there are two with one number."""
    seen: set[int] = set()
    for entry in sorted(folder.iterdir()):
        name = entry.stem if entry.suffix in ENDINGS else entry.name
        if not _NUMBER.fullmatch(name) or (name == entry.name and not entry.is_dir()):
            continue
        if int(name) in seen:
            raise ModelError(folder, f"has version {int(name)} twice; remove one of them")
        seen.add(int(name))
        yield int(name), _only_model(entry) if entry.is_dir() else entry


def _only_model(folder: Path) -> Path:
    """Return the model's file in the folder of a version, or the folder where there is none."""
    files = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS)
    if len(files) > 1:
        raise ModelError(folder, f"has {len(files)} models; a version is one")
    return files[0] if files else folder
