"""Whether a file can hold a model at all: told in words, and without waiting for TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.formats.digest import digest_of

SAVE = "save the model with `model.save('name.keras')`"
AGAIN = "copy it once more, or save the model again"
SAVED_MODEL_FILE = "saved_model.pb"
ZIP = b"PK"
HDF5 = b"\x89HDF\r\n\x1a\n"
# The endings of model files, with the one that the library goes by that loads them.
ENDINGS = {".keras": ".keras", ".h5": ".h5", ".hdf5": ".h5", ".onnx": ".onnx"}


class ModelError(Exception):
    """A model cannot be loaded or served: one line that says why, and what to do."""

    def __init__(self, path: Path | str, why: str) -> None:
        super().__init__(" ".join(f"{path}: {why}".split()))


def ending_of(path: Path | str) -> str:
    """Return `.keras`, `.h5` or `.onnx`, whichever way it is spelled; "" for any other ending."""
    return ENDINGS.get(Path(path).suffix.lower(), "")


def is_saved_model(path: Path) -> bool:
    """Return whether this is the folder of a SavedModel."""
    return (path / SAVED_MODEL_FILE).is_file()


def models_in(folder: Path) -> list[Path]:
    """Return the model files and SavedModel folders in a folder; raises OSError.

    Hidden ones are left out: those of macOS, and the links of mounted volumes.
    """
    return [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
        and (is_saved_model(path) if path.is_dir() else ending_of(path) and path.is_file())
    ]


def check_file(path: Path | str, sha256: str | None = None) -> None:
    """Raise ModelError unless `path` is a local SavedModel folder, or begins as a model file does.

    `sha256`, hexadecimal, pins the content.
    """
    with readable(path):
        _check_place(path)
        path = Path(path)
        if sha256 is not None:
            _check_digest(path, sha256.strip().lower())
        if not path.is_dir():
            _check_first_bytes(path)


def is_archive(path: Path) -> bool:
    """Return whether a file begins as zip archives do; raises OSError."""
    with path.open("rb") as file:
        return file.read(len(ZIP)) == ZIP


def no_model(found: object) -> str:
    """Return why a file is refused that holds a layer, for example."""
    return f"holds a {type(found).__name__} where a model is expected; save the whole model"


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Raise ModelError for an OSError of what is done inside."""
    try:
        yield
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
        raise ModelError(
            path, f"{why}; check its permissions, and the disk that it is on"
        ) from error


def _check_place(path: Path | str) -> None:
    # pathlib has made "https://" into "https:/".
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise ModelError(path, "is an address; download the file, and give its path")
    path = Path(path)
    if path.is_dir():
        _check_folder(path)
        return
    if not path.exists():
        what_to_do = "check the path, or train the example model with `python -m model.train`"
        raise ModelError(path, f"no such file; {what_to_do}")
    if not path.is_file():
        raise ModelError(path, "is not a regular file; give the path of a .keras file")
    if path.name == SAVED_MODEL_FILE:
        raise ModelError(path, "is a part of a SavedModel; give the path of the folder it is in")
    if not ending_of(path):
        ending = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise ModelError(path, f"{ending}, and only .keras, .h5 and .onnx are served; {SAVE}")


def _check_folder(path: Path) -> None:
    if is_saved_model(path):
        return
    if (path / "saved_model.pbtxt").exists():
        why = "is a SavedModel in text form (saved_model.pbtxt)"
        raise ModelError(path, f"{why}; export it again in binary form, as {SAVED_MODEL_FILE}")
    why = f"is a folder without a model (a .keras, .h5 or .onnx file, or {SAVED_MODEL_FILE})"
    raise ModelError(path, f"{why}; check the path, or {SAVE}")


def _check_digest(path: Path, expected: str) -> None:
    found = digest_of(path)
    if found != expected:
        why = f"its SHA-256 is {found}, but {expected} is expected"
        raise ModelError(path, f"{why}; check that it is the right file, or set model.sha256 anew")


def _check_first_bytes(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise ModelError(path, f"is empty; {AGAIN}")
    if start.startswith(b"version https://"):
        raise ModelError(path, "is a Git LFS pointer, not the file itself; run `git lfs pull`")
    zipped, hdf5 = start.startswith(ZIP), start.startswith(HDF5)
    ending = ending_of(path)
    if ending == ".onnx" and not (zipped or hdf5):
        return  # a message of Protocol Buffers has no mark
    if ending == ".onnx":
        kind = ".keras" if zipped else ".h5"
        raise ModelError(path, f"holds a model of Keras; rename it to {kind}")
    if ending == ".h5" and zipped:
        raise ModelError(path, "is a zip archive, as .keras files are; rename it to .keras")
    if ending == ".keras" and hdf5:
        raise ModelError(path, "is an HDF5 file; rename it to .h5")
    if not (zipped or hdf5):
        kind = "HDF5 file" if ending == ".h5" else "zip archive"
        raise ModelError(path, f"is no {kind}, so no {ending} file; {AGAIN}")


# What surrounds the sentence that matters in exceptions of Keras and TensorFlow.
NOISE = re.compile(
    r"\x1b\[\d*m"  # bold
    r"|\{\{function_node[^}]*\}\}|\[\[\{?\{?[^]]*\]\]|\[Op:\w*\]|name: \S*$"
    r"|Arguments received by [\s\S]*|Full object config: [\s\S]*|Call arguments received [\s\S]*"
    r"|A total of \d+ objects could not be loaded. Example error message for object <[^>]*>:"
    r"|List of objects that could not be loaded:[\s\S]*"
    r"|<stack traces unavailable>|Graph execution error:|in user code:"
    r"|Detected at node [\s\S]*?most recent call last\):"
    r"|^ *File \".*\n.*$|Exception encountered when calling .*$"
    r"|[A-Za-z0-9+/\\]{80,}={0,2}",  # marshalled code
    re.MULTILINE,
)
NAME_OF_ERROR = re.compile(r"^(?:[A-Za-z_.]*(?:Error|Exception)|INVALID_ARGUMENT): ")


def in_one_line(error: BaseException) -> str:
    """Return what an exception of Keras or TensorFlow says in the end, in 200 characters."""
    text = NOISE.sub("", str(error).rpartition("Exception encountered: ")[2])
    line = NAME_OF_ERROR.sub("", " ".join(text.split())) or type(error).__name__
    return line if len(line) <= 200 else f"{line[:199]}…"
