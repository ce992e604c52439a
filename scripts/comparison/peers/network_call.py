"""What a peer knows of a network, and the call of each engine; see `networks/prepare.py`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scripts.comparison.peers.compiled_call import compiled_call

MOST_ROWS = 32  # that a batch has

Call = Callable[[np.ndarray], np.ndarray]


def folder() -> Path:
    """Return the folder with all that belongs to the network in the variable MODEL."""
    return Path(os.environ["MODEL"]).parent


def facts() -> dict[str, Any]:
    """Return name, shape and dtype of the input, and the length of an answer."""
    known: dict[str, Any] = json.loads((folder() / "facts.json").read_text())
    return known


def reader() -> Callable[[bytes], np.ndarray]:
    """Return a function from the bytes of a request to one row."""
    known = facts()
    dtype, shape = np.dtype(known["dtype"]), (1, *known["shape"])
    return lambda body: np.frombuffer(body, dtype).reshape(shape)


def network_call() -> Call:
    """Return the call of the engine in the variable ENGINE; THREADS are those of one call."""
    threads = int(os.environ.get("THREADS", "0"))  # 0: the engine decides
    calls = {"tensorflow": tensorflow_call, "onnx": onnx_call, "openvino": openvino_call}
    return calls[os.environ.get("ENGINE", "tensorflow")](threads)


def tensorflow_call(threads: int) -> Call:
    """Return the compiled call."""
    del threads
    return compiled_call(MOST_ROWS)


def onnx_call(threads: int) -> Call:
    """Return a call of ONNX Runtime, which any thread may make."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(folder() / "onnx" / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    [name] = [each.name for each in session.get_inputs()]

    def call(rows: np.ndarray) -> np.ndarray:
        [answer] = session.run(None, {name: rows})
        return np.asarray(answer)

    return call


def openvino_call(threads: int) -> Call:
    """Return a call of OpenVINO; each thread needs its own. HINT is its performance hint."""
    import openvino

    hint = os.environ.get("HINT", "LATENCY")
    options = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads}
    options["INFERENCE_PRECISION_HINT"] = "f32"
    path = str(folder() / "openvino" / "model.xml")
    compiled = openvino.Core().compile_model(path, "CPU", options)
    requests: list[Any] = []

    def call(rows: np.ndarray) -> np.ndarray:
        request = requests.pop() if requests else compiled.create_infer_request()
        answer = np.array(next(iter(request.infer({0: rows}, share_inputs=True).values())))
        requests.append(request)
        return answer

    return call
