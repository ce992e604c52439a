"""The main process never loads what computes models."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import CHECKOUT, REAL

pytestmark = pytest.mark.process

ENGINES = ("tensorflow", "keras", "h5py", "jax", "torch", "onnx", "onnxruntime", "openvino")


def test_nothing_in_server_imports_an_engine() -> None:
    """Not even through others."""
    names = [
        ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
        for path in sorted((CHECKOUT / "server").rglob("*.py"))
        if path.name != "__main__.py"
    ]
    program = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        f"print([engine for engine in {ENGINES} if engine in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True
    )

    assert "server.run" in names
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.keras
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_server_with_a_model_has_no_engine_in_memory(start: Start, example_model: Path) -> None:
    server = start(str(example_model), command=REAL, environ={"SERVER_BATCHING__MAX_ROWS": "4"})
    assert server.post([10]).prediction == pytest.approx(31, abs=0.01)
    for path in ("/", "/openapi.json", "/metrics"):
        assert server.get(path).status == 200

    pid = server.process.pid
    found = engines_in(pid)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert found == set()
    assert {"tensorflow", "h5py"} <= set().union(*(engines_in(int(child)) for child in children))


def engines_in(pid: int) -> set[str]:
    """Return whose libraries a process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {engine for engine in ENGINES if re.search(rf"/{engine}/\S*\.so", maps)}
