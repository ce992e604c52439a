"""Values of the chart, without Helm: they follow from the settings of the service."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from scripts import export_values_schema
from server import __version__
from tests.deploy.cluster import CHART, CHECKOUT, KSERVE, objects

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_schema_of_the_values_is_up_to_date() -> None:
    command = [sys.executable, "scripts/export_values_schema.py", "--check"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_schema_that_is_out_of_date_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export_values_schema, "ROOT", tmp_path)
    monkeypatch.setattr(export_values_schema, "FILE", tmp_path / "values.schema.json")
    for arguments, code in ([["--check"], 1], [[], 0], [["--check"], 0]):
        monkeypatch.setattr(sys, "argv", ["export", *arguments])
        assert export_values_schema.main() == code
    assert "is out of date: run `make spec`" in capsys.readouterr().err


def test_the_schema_has_every_value() -> None:
    schema = export_values_schema.values_schema()["properties"]

    assert schema.keys() - {"global"} == VALUES.keys()
    for name, value in VALUES.items():
        if name != "settings" and "properties" in schema[name]:
            assert schema[name]["properties"].keys() == value.keys(), name


@pytest.mark.parametrize(
    "pattern, wanted",
    [
        (r"^[a-z]*\Z", {"pattern": "^[a-z]*$"}),
        (r"^(?!a\Z|b:)[a-z]+\Z", {"pattern": "^[a-z]+$", "not": {"pattern": "^(a$|b:)"}}),
        (r"^[^/\x00\ud800-\udfff]\Z", {"pattern": r"^[^/\x00]$"}),
        (r"^[^\ud800-\udfff]+\Z", {"pattern": r"^[\s\S]+$"}),
    ],
)
def test_patterns_are_written_for_go(pattern: str, wanted: dict[str, Any]) -> None:
    assert export_values_schema.pattern_for_go(pattern) == wanted


def patterns(schema: Any) -> Iterator[str]:
    """Yield every regular expression in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from patterns(each)


def test_every_pattern_of_the_schema_can_be_read() -> None:
    """By Python, for which an empty set of characters is as wrong as for Go."""
    found = list(patterns(export_values_schema.values_schema()))

    assert len(found) > 10
    for pattern in found:
        re.compile(pattern)


def test_chart_and_runtime_use_the_image_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    [runtime] = objects((KSERVE / "cluster-serving-runtime.yaml").read_text())

    assert chart["appVersion"] == __version__
    assert runtime["spec"]["containers"][0]["image"] == f"keras-batch-server:{__version__}"
