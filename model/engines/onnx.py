"""A network that ONNX Runtime computes; TensorFlow is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.engines import libraries
from model.engines.batch_engine import BatchEngine
from model.signature import Signature

ONLY_FATAL = 4  # the severity of what ONNX Runtime logs: it raises errors besides


class OnnxEngine(BatchEngine):
    """A network that ONNX Runtime computes."""

    name = "onnx"

    def __init__(
        self,
        session: Any,
        signature: Signature,
        *,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        fixed_rows: int | None = None,
    ) -> None:
        """`inputs` and `outputs` are the file's names of those of the signature, in its order.

        Without them they are the names of the signature.
        """
        super().__init__(signature, fixed_rows=fixed_rows)
        self._session = session
        self._results = list(outputs) or [spec.name for spec in signature.outputs]
        used = {each.name for each in session.get_inputs()}
        names = list(inputs) or [spec.name for spec in signature.inputs]
        self._inputs = [(i, name) for i, name in enumerate(names) if name in used]
        self._texts = {i for i, spec in enumerate(signature.inputs) if spec.dtype == "string"}
        self._has_texts = any(spec.dtype == "string" for spec in signature.outputs)

    def _outputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        if self._texts:
            arrays = [_as_texts(a) if i in self._texts else a for i, a in enumerate(arrays)]
        feed = {name: arrays[i] for i, name in self._inputs}
        answers: list[np.ndarray] = self._session.run(self._results, feed)
        return [_as_bytes(answer) for answer in answers] if self._has_texts else answers


def session_of(path: Path | str, threads: int) -> Any:
    """Load a file into ONNX Runtime; raises what it raises. `threads` 0: it decides."""
    onnxruntime = libraries.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ONLY_FATAL
    # Else its threads keep the cores busy for a while after each call, and the server needs them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _as_texts(array: np.ndarray) -> np.ndarray:
    """Return strings as `str`; raises UnicodeDecodeError."""
    texts = [cell.decode() if isinstance(cell, bytes) else cell for cell in array.flat]
    return np.array(texts, object).reshape(array.shape)


def _as_bytes(array: np.ndarray) -> np.ndarray:
    if not array.dtype.hasobject:
        return array
    return np.array([str(cell).encode() for cell in array.flat], object).reshape(array.shape)
