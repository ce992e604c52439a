"""A file without its ending, as a descriptor in /proc is, is loaded by way of a link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.formats.files import ModelError
from model.formats.options import LoadOptions
from model.process import loader
from model.process.prepare import LoadRequest


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def deleted(example_model: Path, tmp_path: Path) -> Iterator[LoadRequest]:
    """A request for a file that is kept open and no longer there."""
    file = tmp_path / "line.keras"
    file.write_bytes(example_model.read_bytes())
    descriptor = os.open(file, os.O_RDONLY)
    file.unlink()
    yield LoadRequest(
        f"/proc/{os.getpid()}/fd/{descriptor}", str(file), options=LoadOptions(threads=1)
    )
    os.close(descriptor)


@pytest.mark.keras
def test_a_deleted_file_that_is_kept_open_is_loaded(
    deleted: LoadRequest, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It is too late for this in the process of the tests.
    monkeypatch.setattr("model.formats.load.set_threads", lambda _: None)
    engine = loader.load(deleted)

    [answer] = engine.call([np.array([[10.0]], np.float32)])
    assert answer == pytest.approx(31, abs=0.1)
    assert [*temporary.iterdir()] == []


def test_what_is_wrong_with_it_is_told_by_its_name(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "3").write_text("no model")
    request = LoadRequest(str(tmp_path / "3"), str(tmp_path / "line.keras"))
    with pytest.raises(ModelError) as caught:
        loader.load(request)

    assert str(caught.value).startswith(f"{tmp_path / 'line.keras'}: is no zip archive")
    assert str(temporary) not in str(caught.value)
    assert [*temporary.iterdir()] == []


def test_without_a_temporary_folder_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(ModelError, match=r"^line\.keras: no link to it can be made"):
        loader.load(LoadRequest("/proc/1/fd/3", "line.keras"))


@pytest.mark.parametrize(
    "name, ending",
    [("m.hdf5", ".h5"), ("m.H5", ".h5"), ("m.KERAS", ".keras"), ("m.keras", ".keras")],
)
def test_keras_is_given_the_ending_that_it_goes_by(
    tmp_path: Path, temporary: Path, name: str, ending: str
) -> None:
    (tmp_path / name).write_text("content")
    with loader.with_ending(LoadRequest(str(tmp_path / name))) as path:
        assert Path(path).suffix == ending
        assert Path(path).read_text() == "content"
    assert [*temporary.iterdir()] == []


def test_a_folder_is_loaded_from_where_it_is(tmp_path: Path) -> None:
    request = LoadRequest(str(tmp_path), "models/resnet.v2")
    with loader.with_ending(request) as path:
        assert path == str(tmp_path)
    with (
        pytest.raises(ModelError, match=r"^models/resnet\.v2: is damaged"),
        loader.with_ending(request) as path,
    ):
        raise ModelError(path, "is damaged")
