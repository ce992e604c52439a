from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.keras

CHECKOUT = Path(__file__).parents[2]
NAME = "My Best Model.ipynb"


def outputs(notebook: Any) -> list[tuple[str, str]]:
    """The source and the shown value of each cell that shows one."""
    return [
        (cell.source, output.data["text/plain"])
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]


@pytest.fixture
def stored() -> Any:
    return nbformat.read(CHECKOUT / "model" / NAME, as_version=4)


@pytest.mark.torture
@pytest.mark.parametrize("started_in", [".", "model"])
def test_it_runs_from_top_to_bottom(tmp_path: Path, stored: Any, started_in: str):
    """In a copy, so that the checkout stays as it is; and shows what it has stored."""
    shutil.copytree(
        CHECKOUT / "model", tmp_path / "model", ignore=shutil.ignore_patterns("*.keras", "__py*")
    )
    notebook = nbformat.read(tmp_path / "model" / NAME, as_version=4)
    resources = {"metadata": {"path": str(tmp_path / started_in)}}
    NotebookClient(notebook, timeout=90, kernel_name="python3", resources=resources).execute()

    made = {path.name for path in tmp_path.rglob("*.keras")}
    assert made == {"my_best_model.keras"}
    assert (tmp_path / "model" / "my_best_model.keras").is_file()
    results = dict(outputs(notebook))
    assert first_number(results["predict(10, loaded)"]) == pytest.approx(31, abs=0.01)
    assert list(results) == [source for source, _ in outputs(stored)]
    assert first_number(dict(outputs(stored))["predict(10, loaded)"]) == pytest.approx(31, abs=0.01)


def first_number(text: str) -> float:
    match = re.search(r"-?\d+\.\d+", text)
    assert match
    return float(match[0])


def test_text_stands_between_the_cells(stored: Any):
    kinds = [cell.cell_type for cell in stored.cells]
    assert kinds[0] == "markdown"
    assert all("markdown" in pair for pair in pairwise(kinds))


def test_its_stored_outputs_are_clean(stored: Any):
    """Run in order, without errors, warnings, or traces of the machine they were made on."""
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for output in (output for cell in code for output in cell.outputs):
        assert output.output_type in {"stream", "execute_result"}
        assert output.get("name") != "stderr"
        assert not re.search(
            r"(^|[\s'\"(])/\w", str(output.get("text", "")) + str(output.get("data"))
        )
    assert stored.metadata.kernelspec.name == "python3"
