"""Networks in `.onnx` files, computed by ONNX Runtime without TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.formats.detect import Format, detect
from model.formats.load import ModelError, load_model
from model.process.prepare import LoadRequest
from model.tensors import Tensors
from server.serving.model_process import ModelProcess
from server.serving.process_start import ROOT, environment
from tests.model.formats import onnx_files, refused_onnx
from tests.model.formats.onnx_files import TensorProto, dense, external, identity

ROWS = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


@pytest.fixture
def save(tmp_path: Path) -> Any:
    return lambda made: onnx_files.save(made, tmp_path / "m.onnx")


def test_its_signature_and_answers(save: Any) -> None:
    path = save(dense())
    engine = load_model(path)

    assert detect(path) is Format.ONNX
    assert str(engine.signature) == "x: float32[3] → y: float32[2]"
    assert (engine.name, engine.fixed_rows) == ("onnx", None)
    for rows in (ROWS, ROWS[:1]):
        [answer] = engine.call([rows])
        assert answer.tolist() == (rows @ onnx_files.WEIGHTS).tolist()


def test_a_fixed_number_of_rows_is_filled_up(save: Any) -> None:
    engine = load_model(save(dense(rows=4)))
    [answer] = engine.call([ROWS])

    assert engine.fixed_rows == 4
    assert answer.tolist() == (ROWS @ onnx_files.WEIGHTS).tolist()


def test_variable_sizes_stay_open(save: Any) -> None:
    engine = load_model(save(identity(TensorProto.DOUBLE, ["rows", None, 2])))

    assert str(engine.signature) == "x: float64[?, 2] → y: float64[?, 2]"
    for size in (1, 5):
        array = np.ones((3, size, 2))
        assert np.array_equal(engine.call([array])[0], array)


def test_strings_go_in_and_out(save: Any) -> None:
    engine = load_model(save(identity(TensorProto.STRING, ["rows", 2])))
    texts = np.array([["a", "ü"], [b"b", "ü".encode()]], object)

    [answer] = engine.call([texts])
    assert answer.tolist() == [[b"a", "ü".encode()], [b"b", "ü".encode()]]


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    path = onnx_files.save(dense(constant=external("weights")), tmp_path / "m.onnx")
    (tmp_path / "weights").write_bytes(onnx_files.WEIGHTS.tobytes())

    [answer] = load_model(path).call([ROWS])
    assert answer.tolist() == (ROWS @ onnx_files.WEIGHTS).tolist()


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    path = onnx_files.save(dense(constant=external("weights")), tmp_path / "model" / "m.onnx")
    (tmp_path / "secret").write_bytes(onnx_files.WEIGHTS.tobytes())
    (path.parent / "weights").symlink_to(tmp_path / "secret")

    with pytest.raises(ModelError, match="outside the folder"):
        load_model(path)


@pytest.mark.parametrize("depth", [1, 20])
def test_operations_are_looked_for_in_branches_too(save: Any, depth: int) -> None:
    made: Any = refused_onnx.own_operation()
    for _ in range(depth):
        branch = onnx_files.helper.make_node("If", ["c"], ["y"], then_branch=made.graph)
        ends = [onnx_files.tensor("c", [1], TensorProto.BOOL)], [onnx_files.tensor("y", [None])]
        made = onnx_files.model([branch], *ends)
    with pytest.raises(ModelError, match=r"Magic of com\.example"):
        load_model(save(made))


def test_loading_and_calling_it_does_not_import_tensorflow(save: Any) -> None:
    program = (
        "import sys, numpy as np\n"
        "from model.process.loader import load\n"
        "from model.process.main import main\n"
        "from model.process.prepare import LoadRequest, prepare\n"
        "engine, report = prepare(load, LoadRequest(sys.argv[1], max_rows=2))\n"
        "engine.call([np.zeros((1, 3), np.float32)])\n"
        "print(report.engine, sorted({'tensorflow', 'keras', 'tf_keras'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(save(dense()))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment({}),
    )

    assert (done.stdout.strip(), done.stderr) == ("onnx []", "")


@pytest.mark.process
@pytest.mark.gen_test(timeout=60)
async def test_a_model_process_serves_it_without_mapping_tensorflow(save: Any) -> None:
    process = ModelProcess("m")
    try:
        report = await process.load(LoadRequest(str(save(dense()))), 60)
        [answer] = await process.call([Tensors({"x": ROWS})])
        mapped = Path(f"/proc/{process.pid}/maps").read_text()
    finally:
        await process.close()

    assert report.engine == "onnx"
    assert answer.arrays["y"].tolist() == (ROWS @ onnx_files.WEIGHTS).tolist()
    assert "onnxruntime" in mapped
    assert "tensorflow" not in mapped
