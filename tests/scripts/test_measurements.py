"""The figures and the command line of the measurements."""

from __future__ import annotations

import os

import numpy as np
import pytest

from model.signature import Signature, TensorSpec
from scripts.comparison import command as comparison
from scripts.comparison.encodings import in_bytes
from scripts.measurements import command, tensors_in_bytes
from scripts.measurements.figure import Figure, markdown, median_ratio, percentile
from scripts.measurements.serving import resident, value_of
from server.dialects.v2.dialect import V2Dialect

METRICS = """\
# HELP predict_batch_rows Rows of each call
predict_batch_rows_bucket{le="1.0"} 4.0
predict_batch_rows_sum 130.0
predict_batch_rows_count 5.0
predict_model_info{name="x",version="1"} 1.0
"""


def test_a_ratio_is_that_of_the_median_round():
    assert median_ratio([(1, 2), (9, 10), (3, 4)]) == 0.75


def test_a_percentile_is_one_of_the_values():
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.99) == 100
    assert percentile([7.0], 0.99) == 7


def test_metrics_are_found_by_their_full_names():
    assert value_of("predict_batch_rows_sum", METRICS) == 130
    assert value_of("predict_model_info", METRICS) == 1
    with pytest.raises(LookupError):
        value_of("predict_batch_rows", METRICS)


def test_the_memory_of_a_process_is_in_bytes():
    assert 2**20 < resident(os.getpid()) < 2**36


def test_binary_and_json_requests_have_the_same_tensors():
    y = TensorSpec("y", (1,), "float32")
    dialect = V2Dialect("m", "1", Signature((TensorSpec("x", (64,), "float32"),), (y,)))
    array = np.random.default_rng(0).standard_normal((256, 64)).astype(np.float32)
    for make, is_binary in ((in_bytes, True), (tensors_in_bytes.in_json, False)):
        form = make("x", array)
        headers = {name.lower(): value for name, value in form.headers.items()}
        call = dialect.decode(form.body, headers)
        assert np.array_equal(call.tensors.arrays["x"], array)
        assert [wanted.is_binary for wanted in call.form.outputs] == [is_binary]


def test_the_table_shows_which_targets_are_met():
    figures = [Figure("speed", "3", "2", True), Figure("memory", "9", "8", False)]
    lines = markdown(figures).splitlines()
    assert lines[2:] == ["| speed | 3 | 2 | yes |", "| memory | 9 | 8 | no |"]
    assert len({line.count("|") for line in lines}) == 1


def test_the_command_runs_the_named_measurements_and_fails_on_a_missed_target(
    monkeypatch, tmp_path, capsys
):
    calls = []

    def fake(reached: bool):
        return lambda _, rounds, seconds: (
            calls.append((rounds, seconds)) or Figure("it", "1", "2", reached)
        )

    monkeypatch.setattr(command, "MEASUREMENTS", {"good": fake(True), "bad": fake(False)})
    monkeypatch.setattr(command, "is_installed", lambda: True)
    monkeypatch.setattr(command, "versions", dict)  # it would start wrk
    monkeypatch.setattr(command, "MODEL", tmp_path)
    out = tmp_path / "out.md"

    assert command.main(["good", "--rounds", "2", "--seconds", "0.5", "--out", str(out)]) == 0
    assert calls == [(2, 0.5)]
    assert "| it | 1 | 2 | yes |" in out.read_text()
    assert command.main([]) == 1
    assert len(calls) == 3
    with pytest.raises(SystemExit):
        command.main(["other"])
    assert "unknown measurement: other; known: good, bad" in capsys.readouterr().err


@pytest.mark.parametrize("name, main", [("measure", command.main), ("compare", comparison.main)])
def test_a_missing_wrk_is_reported_in_one_line(monkeypatch, capsys, name, main):
    monkeypatch.setenv("PATH", "")
    assert main([]) == 2
    assert capsys.readouterr() == ("", f"{name}: wrk is not installed: apt-get install wrk\n")
