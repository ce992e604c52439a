from __future__ import annotations

import hashlib
import io
import re
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from model.formats.detect import Format, detect
from model.formats.files import ModelError
from model.formats.load import LoadOptions, check


def zipped(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return path


def weights() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as weights:
        weights["kernel"] = np.frombuffer(b"w" * 1000, np.uint8)
    return file.getvalue()


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """Looks like a model from the outside, which is all that is checked here."""
    return zipped(tmp_path / "m.keras", config__json="{}", model__weights__h5=weights())


@pytest.fixture
def h5_file(tmp_path: Path) -> Path:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        file.create_group("model_weights")
        file["filler"] = list(range(1000))
    return path


def message_of(path: Path | str, sha256: str | None = None) -> str:
    """What the one line says after the path."""
    with pytest.raises(ModelError) as refused:
        check(path, LoadOptions(sha256=sha256 or ""))
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


def test_whole_files_are_accepted(model_file: Path, h5_file: Path):
    check(model_file)
    check(str(model_file))
    check(h5_file)


@pytest.mark.parametrize(
    "address", ["https://example.org/m.keras", "hf://org/m", "gs://bucket/m.keras", "file:///m.h5"]
)
@pytest.mark.parametrize("kind", [str, Path])
def test_addresses_are_rejected(address: str, kind: type):
    assert message_of(kind(address)).startswith("is an address; download the file")


def test_a_missing_file(tmp_path: Path):
    assert message_of(tmp_path / "m.keras").startswith("no such file; check the path")


@pytest.mark.parametrize("name", ["folder", "m.keras"])
def test_a_folder(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    assert message_of(tmp_path / name).startswith("is a folder without a model (a .keras")


def test_a_saved_model_folder(tmp_path: Path):
    (tmp_path / "saved_model.pb").touch()
    assert check(tmp_path) is None
    part = message_of(tmp_path / "saved_model.pb")
    assert part == "is a part of a SavedModel; give the path of the folder it is in"


def test_a_saved_model_in_text_form(tmp_path: Path):
    (tmp_path / "saved_model.pbtxt").touch()
    assert message_of(tmp_path).startswith("is a SavedModel in text form (saved_model.pbtxt)")


@pytest.mark.parametrize("ending", [".H5", ".hdf5", ".HDF5"])
def test_other_endings_of_h5_files(h5_file: Path, ending: str):
    check(h5_file.rename(h5_file.with_suffix(ending)))


def test_an_ending_in_capitals(model_file: Path):
    check(model_file.rename(model_file.with_suffix(".KERAS")))


def test_a_path_that_is_neither_file_nor_folder():
    assert message_of("/dev/null").startswith("is not a regular file")


@pytest.mark.parametrize(
    "name, why",
    [("m.pkl", "ends in .pkl"), ("m", "has no ending"), ("m.keras.bak", "ends in .bak")],
)
def test_another_ending(tmp_path: Path, name: str, why: str):
    (tmp_path / name).write_text("?")
    assert message_of(tmp_path / name).startswith(
        f"{why}, and only .keras, .h5 and .onnx are served"
    )


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "is empty"),
        (b"hello", "is no zip archive, so no .keras file"),
        (b"PK", "is cut off or damaged"),
        (b"\x89HDF\r\n\x1a\n...", "is an HDF5 file; rename it to .h5"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    ],
)
def test_content_that_is_no_keras_file(tmp_path: Path, content: bytes, why: str):
    path = tmp_path / "m.keras"
    path.write_bytes(content)
    assert message_of(path).startswith(why)


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "is empty"),
        (b"hello", "is no HDF5 file, so no .h5 file"),
        (b"PK\3\4", "is a zip archive, as .keras files are; rename it to .keras"),
        (b"\x89HDF\r\n\x1a\n...", "is cut off or damaged"),
    ],
)
def test_content_that_is_no_h5_file(tmp_path: Path, content: bytes, why: str):
    path = tmp_path / "m.h5"
    path.write_bytes(content)
    assert message_of(path).startswith(why)


@pytest.mark.parametrize("metadata", ["{", "[" * 100_000, "7", '{"keras_version": [3]}'])
def test_a_version_that_cannot_be_read_is_that_of_an_older_file(tmp_path: Path, metadata: str):
    path = zipped(tmp_path / "m.keras", config__json="{}", metadata__json=metadata)

    assert detect(path) is Format.KERAS_2


def test_archives_that_hold_no_model(tmp_path: Path):
    assert message_of(zipped(tmp_path / "a.keras", a="b")).startswith(
        "is a zip archive without config.json"
    )
    assert message_of(zipped(tmp_path / "b.keras", config__json="{}")).startswith(
        "is a zip archive without weights"
    )


def test_an_h5_file_of_weights_alone(tmp_path: Path):
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["kernel"] = [1.0]
    assert message_of(tmp_path / "m.weights.h5").startswith("does not hold a whole model, weights")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_files_that_are_cut_off(model_file: Path, h5_file: Path, kept: float):
    for path in (model_file, h5_file):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])
        assert message_of(path).startswith("is cut off or damaged")


@pytest.mark.parametrize("member, text", [("model.weights.h5", b"wwww"), ("config.json", b"{}")])
def test_a_single_wrong_byte_in_an_archive(model_file: Path, member: str, text: bytes):
    content = bytearray(model_file.read_bytes())
    content[content.index(text)] ^= 1
    model_file.write_bytes(content)
    assert message_of(model_file).startswith(f"is damaged: the checksum of {member} is wrong")


def test_the_digest_pins_the_content(model_file: Path):
    right, wrong = hashlib.sha256(model_file.read_bytes()).hexdigest(), "0" * 64

    check(model_file, LoadOptions(sha256=right))
    check(model_file, LoadOptions(sha256=f" {right.upper()}\n"))
    assert re.match(
        f"its SHA-256 is {right}, but {wrong} is expected", message_of(model_file, wrong)
    )


def test_the_digest_is_looked_at_before_the_content(h5_file: Path):
    """No parser sees a file that is not the pinned one."""
    h5_file.write_bytes(b"\x89HDF\r\n\x1a\n...")
    assert message_of(h5_file, "0" * 64).startswith("its SHA-256 is")


def test_a_line_end_in_a_path_does_not_make_two_lines():
    with pytest.raises(ModelError) as refused:
        check("a\nb.keras")
    assert str(refused.value).startswith("a b.keras: no such file")


def test_where_tensorflow_is_not_installed_the_error_says_so(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the image `slim`."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)

    with pytest.raises(ModelError, match=r"m\.keras: needs TensorFlow, .* convert it to \.onnx"):
        check(model_file)
