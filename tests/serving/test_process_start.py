"""The environment of a model process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.formats.imports import FOLDER
from server.serving.process_start import IMPORTS_FOLDER, ROOT, environment

PRINT = "from server.serving.process_start import *; print(environment({})[IMPORTS_FOLDER])"


def test_our_settings_are_not_passed_on():
    given = {"SERVER_HTTP__PORT": "1", "PYTHONPATH": "/own", "HOME": "/home"}
    found = environment(given)
    assert "SERVER_HTTP__PORT" not in found
    assert found["PYTHONPATH"] == os.pathsep.join([str(ROOT), "/own"])
    assert found["HOME"] == "/home"


def test_the_model_process_is_told_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert IMPORTS_FOLDER == FOLDER
    assert environment({})[FOLDER] == str(tmp_path)


def test_the_current_folder_may_have_been_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert environment({})[FOLDER] == ""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("options, expected", [([], True), (["-P"], False)])
def test_no_module_is_looked_for_in_the_current_folder_after_python_p(
    tmp_path: Path, options: list[str], expected: bool
):
    found = subprocess.run(
        [sys.executable, *options, "-c", PRINT],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == (str(tmp_path) if expected else "")
