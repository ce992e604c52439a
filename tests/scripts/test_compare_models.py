"""Requests, the page and the command line of `compare.py --models`."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP

import numpy as np
import pytest

from model.signature import Signature, TensorSpec
from scripts.comparison import command
from scripts.comparison.encodings import answered, encoded, in_bytes
from scripts.comparison.markdown import Setup
from scripts.comparison.networks import command as networks
from scripts.comparison.networks.contestants import CONTESTANTS
from scripts.comparison.networks.page import Measured, page
from scripts.comparison.networks.prepare import NETWORKS, random_rows
from scripts.comparison.plot import panels
from scripts.comparison.results import Results
from scripts.comparison.venvs import REQUIREMENTS, Missing
from scripts.comparison.wrk import Measurement
from scripts.measurements import models
from scripts.measurements.networks_in_bytes import NAMES, direct

SETUP = Setup({"processor": "fast"}, 2, 1, [1, 8], "python scripts/compare.py --models")
ROWS = np.arange(6, dtype=np.float32).reshape(1, 2, 3)


def measurement(rate: float) -> Measurement:
    return Measurement(rate, 1.0, 2.0, 10, 0, 0)


def results_of(**rates: float) -> Results:
    results = Results()
    for name, rate in rates.items():
        for number in (1, 2):
            for connections in (1, 8):
                results.add(number, name.replace("_", "-"), connections, measurement(rate))
    return results


def test_every_form_of_a_request_has_the_bytes_of_the_tensor():
    assert encoded("bytes", "x", ROWS).body == ROWS.tobytes()
    binary = encoded("v2", "x", ROWS)
    size = int(binary.headers["Inference-Header-Content-Length"])
    assert json.loads(binary.body[:size])["inputs"][0]["shape"] == [1, 2, 3]
    assert binary.body[size:] == ROWS.tobytes()
    form = encoded("file", "x", ROWS)
    head = f"Content-Type: {form.headers['Content-Type']}\r\n\r\n".encode()
    [part] = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + form.body).iter_parts()
    assert part.get_payload(decode=True) == ROWS.tobytes()


def test_int32_has_its_datatype():
    assert b'"INT32"' in in_bytes("ids", np.zeros((1, 4), np.int32)).body


def test_answers_are_read_from_json_and_from_bytes_with_and_without_a_header():
    numbers = np.array([0.5, 2], np.float32)
    raw = numbers.tobytes()
    for body, headers in (
        (b"[[0.5, 2.0]]", {"content-type": "application/json"}),
        (raw, {"Content-Type": "application/octet-stream"}),
        (b'{"a":1}' + raw, {"inference-header-content-length": "7"}),
    ):
        assert np.array_equal(answered(body, headers), numbers)
    with pytest.raises(ValueError, match="multiple"):
        answered(b"12345", {})


def test_ids_are_not_negative():
    ids = random_rows(TensorSpec("ids", (64,), "int32"), 8)
    assert ids.dtype == np.int32
    assert ids.shape == (8, 64)
    assert 0 <= ids.min() < ids.max() < 1000


def test_networks_and_environments_exist():
    assert set(NETWORKS.values()) <= set(models.NETWORKS)
    assert set(NAMES) <= set(NETWORKS)
    assert {each.venv for each in CONTESTANTS} - {""} <= set(REQUIREMENTS)


def test_the_page_shows_ratios_and_where_another_server_is_better():
    measured = Measured(
        {"mlp": results_of(ours_auto=300, fastapi=100), "lstm": results_of(ours_auto=5, onnx=10)},
        {"mlp": "onnx"},
        {"resnet50": "no memory"},
    )
    measured.networks["lstm"].missing["triton"] = "exited with code 1"
    text = page(CONTESTANTS, measured, SETUP, "2026-11-28")
    assert "| FastAPI, TensorFlow | 100 (3.00×) |" in text
    assert "MLP 64-256-256-10 (`auto`: onnx)" in text
    [better] = [line for line in text.splitlines() if "FastAPI, ONNX Runtime 2.00" in line][:1]
    assert "2 × LSTM(64), 50 steps, 1 connection" in better
    assert "- Triton 2.51, TensorFlow, 2 × LSTM(64), 50 steps: exited with code 1" in text
    assert "- ResNet50: no memory" in text


def test_the_page_says_when_no_other_server_is_better():
    measured = Measured({"mlp": results_of(ours_auto=300, fastapi=100)}, {}, {})
    text = page(CONTESTANTS, measured, SETUP, "2026-11-28")
    assert "Nowhere: no other server answered more" in text
    assert "## Missing" not in text


def test_the_plot_has_a_chart_for_each_network():
    charts = {"one": results_of(ours_auto=300), "two & three": results_of(fastapi=3)}
    drawn = ET.fromstring(panels(charts, CONTESTANTS, [1, 8]))
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"one", "two & three", "FastAPI, TensorFlow"} <= set(texts)


def test_a_network_that_cannot_be_made_is_told_and_the_others_are_measured(
    monkeypatch, tmp_path, capsys
):
    class Rounds:
        def __init__(self, *_):
            self.engines = {}

        def run(self, name, contestants, folder):
            if name == "mlp":
                raise Missing("no converter")
            return results_of(ours_auto=3)

    monkeypatch.setattr(networks, "NetworkRounds", Rounds)
    code = networks.compare_networks(["mlp", "lstm"], CONTESTANTS, SETUP, tmp_path, print)
    assert code == 1
    assert "MISSING MLP 64-256-256-10: no converter" in capsys.readouterr().out
    written = json.loads((tmp_path / "comparison-models.json").read_text())
    assert {run["network"] for run in written["runs"]} == {"lstm"}


def test_the_command_rejects_servers_of_the_other_comparison(capsys):
    with pytest.raises(SystemExit) as exit_:
        command.main(["--models", "mlp", "--only", "ceiling"])
    assert exit_.value.code == 2
    assert "unknown server: ceiling" in capsys.readouterr().err


def test_direct_calls_have_the_mean_size():
    class Engine:
        def __init__(self):
            self.sizes = []
            self.signature = Signature((TensorSpec("x", (2, 3), "float32"),), ())

        def predict(self, parts):
            self.sizes.append(len(parts[0]))

    engine = Engine()
    assert direct(engine, ROWS, 2.5, 0.01) > 0  # type: ignore[arg-type]  # a fake
    assert engine.sizes[:4] == [2, 3, 2, 3]
