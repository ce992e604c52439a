"""What lies in a folder, and which version it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.formats.files import ModelError
from server.config import ModelSource
from server.serving.kept_file import KeptFile, state_of
from server.serving.versions import after, files_of


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def found(source: ModelSource, count: int = 9, newest: str = "") -> list[tuple[str, str]]:
    """Return version and path, relative to the source's, of what is there to be loaded."""
    files = files_of(source, count, newest)
    return [(file.version, file.path.removeprefix(source.path)) for file in files]


def test_a_single_file_is_version_1_and_one_more_each_time(tmp_path: Path) -> None:
    source = ModelSource(path=str(put(tmp_path / "m.keras")))

    assert found(source) == [("1", "")]
    assert found(source, newest="1") == [("2", "")]
    assert found(source, newest="9") == [("10", "")]


def test_a_single_file_can_have_a_version_of_its_own(tmp_path: Path) -> None:
    source = ModelSource(path=str(put(tmp_path / "m.keras")), version="2026-a")

    assert found(source) == [("2026-a", "")]
    assert found(source, newest="2026-a") == [("2026-a.2", "")]
    assert after("2026-a.2") == "2026-a.3"


def test_numbered_files_and_folders_are_versions_by_their_number(tmp_path: Path) -> None:
    put(tmp_path / "9.keras")
    put(tmp_path / "10" / "model.keras")
    put(tmp_path / "0008.h5")
    put(tmp_path / "11.keras.part")
    put(tmp_path / "notes.keras")
    put(tmp_path / "12")
    source = ModelSource(path=str(tmp_path))

    assert found(source) == [("10", "/10/model.keras"), ("9", "/9.keras"), ("8", "/0008.h5")]
    assert found(source, count=2) == [("10", "/10/model.keras"), ("9", "/9.keras")]


def test_one_version_of_a_folder_can_be_named(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        put(tmp_path / f"{number}.keras")

    assert found(ModelSource(path=str(tmp_path), version="2")) == [("2", "/2.keras")]
    with pytest.raises(ModelError, match=r"has no version 4 \(it has: 3, 2, 1\); set"):
        found(ModelSource(path=str(tmp_path), version="4"))


def test_a_pin_of_a_folder_needs_a_version(tmp_path: Path) -> None:
    put(tmp_path / "1.keras")

    with pytest.raises(ModelError, match=r"model\.sha256 is of one; set model\.version"):
        found(ModelSource(path=str(tmp_path), sha256="ab" * 32))


def test_what_cannot_be_one_version_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "two" / "1" / "a.keras")
    put(tmp_path / "two" / "1" / "b.keras")
    put(tmp_path / "twice" / "1.keras")
    put(tmp_path / "twice" / "01.keras")

    with pytest.raises(
        ModelError, match=r"has 2 models \(a.keras, b.keras\); set model.path to one"
    ):
        found(ModelSource(path=str(tmp_path / "two")))
    with pytest.raises(ModelError, match="has version 1 twice"):
        found(ModelSource(path=str(tmp_path / "twice")))


def test_a_file_that_is_put_in_place_of_another_is_noticed(tmp_path: Path) -> None:
    path = put(tmp_path / "1.keras", "old")
    source = ModelSource(path=str(tmp_path))
    [before] = files_of(source, 1, "")
    path.unlink()
    put(path, "another")

    assert files_of(source, 1, "") != [before]


def saved_model(folder: Path, text: str = "x") -> Path:
    """Make what looks like a SavedModel from the outside."""
    put(folder / "saved_model.pb", text)
    put(folder / "variables" / "variables.index", text)
    return folder


def test_a_saved_model_is_a_single_model(tmp_path: Path) -> None:
    source = ModelSource(path=str(saved_model(tmp_path / "m")))
    put(tmp_path / "m" / "assets" / "1.keras")

    assert found(source) == [("1", "")]
    assert found(source, newest="1") == [("2", "")]


def test_numbered_saved_models_are_versions(tmp_path: Path) -> None:
    saved_model(tmp_path / "1")
    saved_model(tmp_path / "2" / "exported")
    put(tmp_path / "3" / "model.keras")
    source = ModelSource(path=str(tmp_path))

    assert found(source) == [("3", "/3/model.keras"), ("2", "/2/exported"), ("1", "/1")]


@pytest.mark.parametrize("name", ["m.keras", "model.KERAS", "old.h5", "old.H5", "older.hdf5"])
def test_the_only_file_in_a_folder_is_the_model(tmp_path: Path, name: str) -> None:
    put(tmp_path / name)
    put(tmp_path / "notes.txt")
    put(tmp_path / "._m.keras")
    source = ModelSource(path=str(tmp_path))

    assert found(source) == [("1", f"/{name}")]
    assert found(source, newest="1") == [("2", f"/{name}")]


def test_the_only_saved_model_in_a_folder_is_the_model(tmp_path: Path) -> None:
    saved_model(tmp_path / "exported")
    (tmp_path / "logs").mkdir()

    assert found(ModelSource(path=str(tmp_path))) == [("1", "/exported")]


def test_several_models_without_numbers_are_rejected_by_name(tmp_path: Path) -> None:
    put(tmp_path / "a.keras")
    put(tmp_path / "b.h5")
    saved_model(tmp_path / "c")

    with pytest.raises(
        ModelError, match=r"has 3 models \(a.keras, b.h5, c\); set model.path to one"
    ):
        found(ModelSource(path=str(tmp_path)))


def test_the_home_folder_can_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / "m.keras")

    [file] = files_of(ModelSource(path="~/m.keras"), 1, "")

    assert file.path == str(tmp_path / "m.keras")
    with pytest.raises(ModelError, match="there is no such home folder"):
        files_of(ModelSource(path="~nobody-of-this-name/m.keras"), 1, "")


def test_a_change_anywhere_in_a_saved_model_is_noticed(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "m")
    first = state_of(folder)
    put(folder / "variables" / "variables.index", "longer")
    second = state_of(folder)
    put(folder / "assets" / "words.txt")

    assert len({first, second, state_of(folder)}) == 3


def test_a_saved_model_can_be_read_after_another_was_put_in_its_place(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "m", "old")
    kept = KeptFile(str(folder))
    folder.rename(tmp_path / "before")
    saved_model(folder, "new")

    assert (kept.path / "saved_model.pb").read_text() == "old"
    assert kept.is_unchanged()


def test_a_saved_model_that_was_deleted_or_overwritten_is_noticed(tmp_path: Path) -> None:
    for name in ("overwritten", "deleted"):
        folder = saved_model(tmp_path / name)
        kept = KeptFile(str(folder))
        if name == "overwritten":
            saved_model(folder, "changed")
        else:
            shutil.rmtree(folder)

        assert not kept.is_unchanged(), name
