"""Where the versions of a model lie: one model, or a folder with numbered files or sub-folders.

A model is a file, or the folder of a SavedModel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from model.formats.files import ModelError, ending_of, is_saved_model, models_in
from server.config import ModelSource
from server.serving.kept_file import KeptFile, state_of

FIRST = "1"
MAX_NAMED = 5  # models in a message

# What was seen of the files of a model.
Seen = Hashable

_NUMBER = re.compile(r"[0-9]{1,18}")


class VersionFile(NamedTuple):
    """A file, and the version that its content is.

    Attributes:
        path: what is named in messages.
        source: the settings that it was found by.
        state: changes when the file does.
        is_single: there are no numbers; what is put in its place is the next version.
        refusal: why it cannot be loaded, where that is known before its content is read, or "".
    """

    path: str
    version: str
    source: ModelSource
    state: tuple[int, ...]
    is_single: bool = False
    refusal: str = ""


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
    """Return what is there to be loaded, the newest version first; raises ModelError, OSError.

    Of a folder these are the `count` highest numbers, or the one version that `source` names. A
    single model, also the only one in a folder, is the version after `newest`, the last one that
    it had, if any. Of several versions, one with several models in it has a `refusal`.
    """
    path = _expanded(source.path)
    is_folder = path.is_dir() and not is_saved_model(path)
    found = dict(sorted(_numbered(path), reverse=True)) if is_folder else {}
    if not found:
        path = _only_model(path) if is_folder else path
        shown = source.path if path == Path(source.path) else str(path)
        version = after(newest) if newest else source.version or FIRST
        return [VersionFile(shown, version, source, state_of(path), is_single=True)]
    if source.version:
        if not source.version.isdigit() or int(source.version) not in found:
            known = ", ".join(map(str, found))
            why = f"has no version {source.version} (it has: {known})"
            raise ModelError(path, f"{why}; set model.version to one of them")
        found = {int(source.version): found[int(source.version)]}
    elif source.sha256:
        why = "is a folder of versions, and model.sha256 is of one"
        raise ModelError(path, f"{why}; set model.version to that one")
    files = [
        _version_file(entry, str(number), source) for number, entry in list(found.items())[:count]
    ]
    if all(file.refusal for file in files):
        _only_model(Path(files[0].path))  # raises the reason
    return files


def seen_in(files: Sequence[VersionFile]) -> Seen:
    """Return what changes when a file does, or who may read it."""
    return tuple(
        (each.path, each.state, each.refusal, os.access(each.path, os.R_OK)) for each in files
    )


def look(source: ModelSource, count: int) -> Seen:
    """Return what `seen_in` returns of the files that are there now, or why there are none."""
    try:
        return seen_in(files_of(source, count, ""))
    except (ModelError, OSError) as error:
        return str(error)


def _version_file(entry: Path, number: str, source: ModelSource) -> VersionFile:
    """Return a version in a folder; `entry` is its file, or the folder that it is in."""
    try:
        file = _only_model(entry) if entry.is_dir() else entry
    except ModelError as error:
        return VersionFile(str(entry), number, source, state_of(entry), refusal=str(error))
    return VersionFile(str(file), number, source, state_of(file))


def after(version: str) -> str:
    """Return the version that comes next: of `7` it is `8`, of `a` it is `a.2`."""
    before, dot, number = version.rpartition(".")
    if _NUMBER.fullmatch(number):
        return f"{before}{dot}{int(number) + 1}"
    return f"{version}.2"


def rank(version: str) -> tuple[int, str]:
    """Return what versions are sorted by: numbers as numbers."""
    return len(version), version


def _expanded(path: str) -> Path:
    """Return a path with `~` replaced by the user's home; raises ModelError."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # no such user
        raise ModelError(path, "there is no such home folder; give the whole path") from error


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the versions in a folder; raises ModelError where there are two with one number."""
    seen: set[int] = set()
    for entry in sorted(folder.iterdir()):
        name = entry.stem if ending_of(entry) else entry.name
        if not _NUMBER.fullmatch(name) or (name == entry.name and not entry.is_dir()):
            continue
        if int(name) in seen:
            raise ModelError(folder, f"has version {int(name)} twice; remove one of them")
        seen.add(int(name))
        yield int(name), entry


def _only_model(folder: Path) -> Path:
    """Return the only model in a folder, or the folder where it is one itself, or has none."""
    found = [] if is_saved_model(folder) else models_in(folder)
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:MAX_NAMED])
        more = ", …" if len(found) > MAX_NAMED else ""
        why = f"has {len(found)} models ({names}{more}); set model.path to one of them"
        raise ModelError(folder, f"{why}, or name them by their versions: 1.keras, 2.keras")
    return found[0] if found else folder
