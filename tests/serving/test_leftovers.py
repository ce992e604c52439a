"""What earlier runs left in the temporary folder goes, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model.process.loader import TEMPORARY
from server.serving import leftovers


def test_it_is_the_prefix_that_is_used() -> None:
    assert TEMPORARY == leftovers.PREFIX


def test_old_folders_of_this_user_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = {name: tmp_path / f"keras-batch-server-{name}" for name in ("old", "new", "file")}
    foreign = tmp_path / "other"
    for folder in (names["old"], names["new"], foreign):
        folder.mkdir()
        (folder / "1.keras").touch()
    names["file"].touch()
    link = tmp_path / "keras-batch-server-link"
    link.symlink_to(foreign)
    for path in (names["old"], foreign, names["file"]):
        os.utime(path, (0, 0))
    os.utime(link, (0, 0), follow_symlinks=False)
    leftovers.remove_leftovers()

    assert sorted(tmp_path.iterdir()) == sorted([names["new"], names["file"], foreign, link])
    assert [*foreign.iterdir()]


def test_without_a_temporary_folder_nothing_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")

    leftovers.remove_leftovers()
