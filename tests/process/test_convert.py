"""`python -m server convert` with a real model, and the server that serves the result."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import REAL, Child

pytestmark = [pytest.mark.process, pytest.mark.keras, pytest.mark.torture]

WITHIN = 300.0


@pytest.mark.timeout(600)
def test_a_converted_model_is_served_alike_without_tensorflow(
    start: Start, example_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "line"
    arguments = (str(example_model), "--engine", "onnx", "--out", str(out))
    with Child([*REAL, "convert", *arguments], tmp_path / "t") as child:
        assert child.exit_code(WITHIN) == 0, child.stderr
        assert f"to serve it: python -m server {out}" in child.stdout
    before = start(str(example_model), "--model.name", "line", command=REAL)
    after = start(str(out), "--model.name", "line", command=REAL)

    documents = [server.get("/openapi.json").json for server in (before, after)]
    metadata = [server.get("/v2/models/line").json for server in (before, after)]
    answers = [server.post([10]) for server in (before, after)]
    mapped = Path(f"/proc/{after.model_pid}/maps").read_text()

    assert [path.name for path in out.iterdir()] == ["model.onnx"]
    assert documents[0]["components"]["schemas"] == documents[1]["components"]["schemas"]
    for side in ("inputs", "outputs"):
        assert metadata[0][side] == metadata[1][side]
    assert [answer.headers["X-Model-Engine"] for answer in answers] == ["tensorflow", "onnx"]
    assert answers[1].prediction == pytest.approx(answers[0].prediction, rel=1e-5)
    assert "onnxruntime" in mapped
    assert "tensorflow" not in mapped
