"""Makes what all servers need of a network: the model, its conversions, and rows with answers.

folder/mobilenetv2.keras   the network with random weights
folder/onnx/model.onnx     converted by this project for ONNX Runtime
folder/openvino/model.xml  converted by this project for OpenVINO
folder/rows.npz            rows, and what one call with TensorFlow answers to them
folder/facts.json          name, shape and dtype of the input; length of an answer
"""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import numpy as np

from model.engines.convert import Network as Frozen
from model.engines.convert import convert
from model.engines.frozen import freeze
from model.engines.tensorflow import TensorFlowEngine
from model.formats.load import load_model
from model.signature import TensorSpec
from model.tensors import Tensors
from scripts.comparison.venvs import Missing
from scripts.measurements.models import save_network

ROWS = 8
FACTS = "facts.json"

NETWORKS = {
    "mlp": "MLP 64-256-256-10",
    "lstm": "2 × LSTM(64), 50 steps",
    "transformer": "transformer, 4 blocks, 64 ids",
    "mobilenetv2": "MobileNetV2",
    "efficientnetb0": "EfficientNetB0",
    "resnet50": "ResNet50",
}
"""The names in `scripts.measurements.models.NETWORKS`, by those of the files."""


@dataclass(frozen=True)
class Prepared:
    """A network that has been made.

    Attributes:
        model: the file; what belongs to it is in the same folder.
        input: the name of its input.
        rows: rows of input.
        answers: the right answer to each row.
    """

    model: Path
    input: str
    rows: np.ndarray
    answers: np.ndarray


def prepare(name: str, folder: Path) -> Prepared:
    """Make a network, by its key in NETWORKS, in a process of its own; raises Missing."""
    path = folder / f"{name}.keras"
    process = get_context("spawn").Process(target=_make, args=(NETWORKS[name], path))
    process.start()
    process.join()
    if process.exitcode:
        raise Missing(f"{NETWORKS[name]} cannot be made")
    facts = json.loads((folder / FACTS).read_text())
    with np.load(folder / "rows.npz") as arrays:
        return Prepared(path, facts["name"], arrays["rows"], arrays["answers"])


def random_rows(spec: TensorSpec, rows: int) -> np.ndarray:
    """Return random rows of an input: numbers around 0, or ids from 0 to 999."""
    random = np.random.default_rng(0)
    shape = (rows, *map(int, filter(None, spec.shape)))
    if spec.dtype == "int32":
        return random.integers(0, 1000, shape, np.int32)
    return random.standard_normal(shape, np.float32)


def _make(network: str, path: Path) -> None:
    try:
        save_network(network, path)
        engine = cast(TensorFlowEngine, load_model(path))
        [spec] = engine.signature.inputs
        rows = random_rows(spec, ROWS)
        [answer] = engine.predict([Tensors({spec.name: rows})])
        [answers] = answer.arrays.values()
        frozen = Frozen(freeze(engine), engine.signature, engine.fixed_rows)
        for kind in ("onnx", "openvino"):
            convert(frozen, kind, path.parent / kind)
        facts = {
            "name": spec.name,
            "dtype": spec.dtype,
            "shape": rows.shape[1:],
            "outputs": answers.shape[1],
        }
        np.savez(path.parent / "rows.npz", rows=rows, answers=answers)
        (path.parent / FACTS).write_text(json.dumps(facts))
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None
