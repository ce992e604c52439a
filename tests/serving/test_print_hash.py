"""`python -m server hash PATH`."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from model.formats.digest import digest_of
from model.formats.files import ModelError, check_file
from server.serving import print_hash


def saved_model(folder: Path) -> Path:
    for name in ("saved_model.pb", "variables/variables.index", "assets/Wörter 1.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def keras_file(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    return path


def test_the_hash_of_a_file_is_its_sha_256(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = keras_file(tmp_path / "m.keras")
    expected = hashlib.sha256(file.read_bytes()).hexdigest()

    assert print_hash.main([str(file)]) == 0
    assert capsys.readouterr().out == f"{expected}  {file}\n"


def test_the_hash_of_a_folder_can_be_computed_with_sha256sum(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "m")
    command = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, check=True)

    assert digest_of(folder) == done.stdout.decode().split()[0]


def test_each_version_in_a_folder_has_its_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = keras_file(tmp_path / "1.keras"), saved_model(tmp_path / "2")

    assert print_hash.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{digest_of(new)}  {new}", f"{digest_of(old)}  {old}"]


def test_what_is_no_model_has_no_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_hash.main([str(tmp_path / "m.keras")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_a_renamed_file_in_a_folder_changes_its_hash(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "m")
    before = digest_of(folder)
    check_file(folder, before)
    (folder / "assets" / "Wörter 1.txt").rename(folder / "assets" / "words.txt")

    with pytest.raises(ModelError, match=f"its SHA-256 is .*, but {before} is expected"):
        check_file(folder, before)
