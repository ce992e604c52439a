"""The files that pages load, each under a name that changes with its content."""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path
from typing import Final, NamedTuple

from server.errors import UnknownPath
from server.handlers.made_once import MadeOnce

STATIC: Final = Path(__file__).parents[1] / "static"
DIGITS: Final = 12  # of the hash in a name

FOR_EVER: Final = "public, max-age=31536000, immutable"
FOR_AN_HOUR: Final = "public, max-age=3600"


class Asset(NamedTuple):
    """A file, and how long browsers may keep what is at one of its names."""

    content: bytes
    media_type: str
    cache_control: str


class Assets:
    """The files in a folder, by their own names, and by names with a hash of the content."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._files: dict[str, Asset] = {}
        self._hashed: dict[str, str] = {}
        for path in sorted(folder.iterdir()):
            if path.is_file():
                self._add(path.name, path.read_bytes())
        self.bodies = MadeOnce(most=len(self._hashed))

    def url(self, name: str) -> str:
        """Return the address of a file in pages; raises KeyError."""
        return f"/static/{self._hashed[name]}"

    def find(self, name: str) -> Asset:
        """Return the file with this name, or this name with a hash; raises UnknownPath."""
        if name not in self._files:
            raise UnknownPath(f"There is no file {name[:80]}.")
        return self._files[name]

    def _add(self, name: str, content: bytes) -> None:
        stem, _, ending = name.rpartition(".")
        hashed = f"{stem}-{hashlib.sha256(content).hexdigest()[:DIGITS]}.{ending}"
        media_type = mimetypes.guess_type(name)[0] or "text/plain"
        self._hashed[name] = hashed
        self._files[name] = Asset(content, media_type, FOR_AN_HOUR)
        self._files[hashed] = Asset(content, media_type, FOR_EVER)
