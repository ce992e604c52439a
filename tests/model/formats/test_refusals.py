"""Every refusal is in the table of docs/models.md, and every line of it is that of a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from model.formats.load import ModelError
from model.process.prepare import NotServable
from server.config import Settings, load_settings
from tests.model.formats import refused_files, refused_models, refused_onnx
from tests.model.formats.messages import causes, is_in

DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"
TABLE = re.compile(r"<!-- refusals -->(.*)<!-- /refusals -->", re.DOTALL)
ADVISED = re.compile(r"set (model\.(?:allow_code|imports)): (\[[\w.]+\]|\w+)")

Make = Callable[[Path], object]


def rows() -> list[str]:
    """Return the first column of the table."""
    found = TABLE.search(DOCUMENT.read_text(encoding="utf-8"))
    assert found
    lines = [line for line in found[1].splitlines() if line.startswith("| ")][1:]
    return [line.strip("| ").split(" | ")[0] for line in lines]


def refusal(folder: Path, make: Make) -> str:
    with pytest.raises((ModelError, NotServable)) as caught:
        make(folder)
    return str(caught.value)


def assert_refused(folder: Path, row: str, make: Make) -> None:
    """See that a file gets the message of a row, and then advice."""
    text = refusal(folder, make)
    pattern = re.escape(row).replace("…", ".+?")
    found = re.search(f"(?:^|: ){pattern}", text)
    assert found, text
    assert "; " in row or "; " in text[found.end() :], f"no advice: {text}"


def test_the_table_has_every_message_that_is_tested_and_no_other() -> None:
    tested = (refused_files.REFUSED, refused_models.REFUSED, refused_onnx.REFUSED)

    assert sorted(rows()) == sorted(row for table in tested for row in table)


def test_the_table_has_every_message_of_the_code() -> None:
    table = rows()

    assert [
        cause for cause in sorted(causes()) if not any(is_in(cause, row) for row in table)
    ] == []


@pytest.mark.parametrize("row", refused_files.REFUSED)
def test_a_file_is_refused_with_its_message(tmp_path: Path, row: str) -> None:
    assert_refused(tmp_path, row, refused_files.REFUSED[row])


@pytest.mark.parametrize("row", refused_onnx.REFUSED)
def test_an_onnx_file_is_refused_with_its_message(tmp_path: Path, row: str) -> None:
    assert_refused(tmp_path, row, refused_onnx.REFUSED[row])


@pytest.mark.keras
@pytest.mark.logs_warnings
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", refused_models.REFUSED)
def test_a_model_is_refused_with_its_message(tmp_path: Path, row: str) -> None:
    assert_refused(tmp_path, row, refused_models.REFUSED[row])


@pytest.mark.parametrize(
    "row",
    [
        "needs … of …; install … and set model.imports: […]",
        "needs …, a class that Keras does not have; set model.imports: […]",
        "has a Lambda with Python code in it, which could do anything on this machine",
    ],
)
def test_the_advice_is_a_setting_in_flags_and_in_the_file_alike(tmp_path: Path, row: str) -> None:
    advised = ADVISED.search(refusal(tmp_path, refused_files.REFUSED[row]))
    assert advised
    name, value = advised.groups()
    section, key = name.split(".")
    (tmp_path / "config.yaml").write_text(f"{section}:\n  {key}: {value}\n")

    by_flag = load_settings([f"--{name}", value], {}, tmp_path / "elsewhere")

    assert by_flag == load_settings([], {}, tmp_path) != Settings()
