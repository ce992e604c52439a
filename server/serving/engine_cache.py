"""Which engine was chosen for a model, and what was converted for it, kept from run to run.

An entry is a folder named by a hash of all that the choice depends on. It is written elsewhere and
renamed, so it is whole or missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import shutil
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from model.engines.choose import Choice
from model.formats.digest import digest_of
from model.process import convert
from model.process.prepare import LoadRequest
from server.serving.leftovers import DAY, PREFIX

log = logging.getLogger(__name__)

LAYOUT: Final = 2  # of an entry; another number makes all of them anew
PACKAGES: Final = (
    *("tensorflow", "tensorflow-cpu", "keras", "tf_keras", "numpy"),
    *("onnxruntime", "onnx", "tf2onnx", "openvino"),
)
NEW: Final = ".new-"
CPU: Final = Path("/proc/cpuinfo")


class Found(NamedTuple):
    """An entry of the cache: a choice, and the folder of what was converted for it, or ""."""

    choice: Choice
    converted: str


class EngineCache:
    """A folder with entries, or one for this run alone where none can be written."""

    def __init__(self, folder: str) -> None:
        self._wanted = expanded(folder) if folder else user_cache() / PREFIX[:-1]
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def find(self, path: str, request: LoadRequest, engine: str) -> Found | None:
        """Return what was chosen for a file, None if that is not known; reads the file."""
        folder = self._temporary.name if self._temporary else self._wanted
        try:
            if not any(Path(folder).iterdir()):
                return None  # without reading the file
            digest = digest_of(path)
            entry = Path(folder) / key_of(digest, request, engine)
            if not entry.is_dir() or is_another(digest, request):
                return None
        except OSError:
            return None
        try:
            choice = convert.read(entry)
        except Exception as error:  # whatever a damaged file leads to
            log.warning("%s is damaged and made anew: %s", entry, error)
            shutil.rmtree(entry, ignore_errors=True)
            return None
        converted = entry / choice.engine
        return Found(choice, str(converted) if converted.is_dir() else "")

    def new_entry(self) -> Path:
        """Return a new folder to write an entry into; raises OSError."""
        folder = Path(self._folder())
        for old in folder.glob(f"{NEW}*"):
            if old.stat().st_mtime < time.time() - DAY:  # of a server that was killed
                shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=NEW, dir=folder))

    def keep(self, made: Path, path: str, request: LoadRequest, engine: str) -> None:
        """Give a new entry its name; raises OSError."""
        entry = made.parent / key_of(digest_of(path), request, engine)
        shutil.rmtree(entry, ignore_errors=True)
        with contextlib.suppress(FileExistsError):  # another server was faster
            made.rename(entry)

    def close(self) -> None:
        """Remove what was for this run alone."""
        if self._temporary:
            self._temporary.cleanup()

    def _folder(self) -> str | Path:
        if self._temporary is None:
            try:
                self._wanted.mkdir(parents=True, exist_ok=True)
                if os.access(self._wanted, os.W_OK):
                    return self._wanted
                why = "it cannot be written"
            except OSError as error:
                why = str(error.strerror or error)
            log.info("model.cache_dir: %s: %s; the cache is for this run alone", self._wanted, why)
            self._temporary = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
        return self._temporary.name


def is_another(digest: str, request: LoadRequest) -> bool:
    """Return whether the content of a model is not the one that is pinned; loading it says so."""
    return request.options.sha256.strip().lower() not in ("", digest)


def key_of(digest: str, request: LoadRequest, engine: str) -> str:
    """Return a hash of the model's content and of what else a choice depends on."""
    options = request.options
    known = {
        "layout": LAYOUT,
        "model": digest,
        "engine": engine,
        "signature": options.signature,
        "allow_code": options.allow_code,
        # The content of own modules is not in the file, so a choice is for one run.
        "imports": [*options.imports, os.getpid()] if options.imports else [],
        "threads": options.threads,
        "replicas": request.replicas,
        "packages": {name: version_of(name) for name in PACKAGES},
        "machine": [platform.machine(), os.cpu_count(), processor()],
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def version_of(package: str) -> str:
    """Return the version of an installed package, or ""."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def processor() -> str:
    """Return the name of the processor, or ""."""
    with contextlib.suppress(OSError):
        for line in CPU.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""


def user_cache() -> Path:
    """Return the folder for caches of the user."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return Path(given) if Path(given).is_absolute() else expanded("~/.cache")


def expanded(folder: str) -> Path:
    """Return a path with `~` replaced by the user's home, or as it is if there is no such home."""
    try:
        return Path(folder).expanduser()
    except RuntimeError:  # such as in a container, for a user that it does not know
        return Path("/", folder)


def size_of(path: Path) -> int:
    """Return the size of a file, or of all files in a folder; raises OSError."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
