"""Imports the libraries of engines, none of which may report to its maker what is done with it."""

from __future__ import annotations

import os
import sys
from typing import Any


def onnxruntime() -> Any:
    """Return ONNX Runtime, without the telemetry that it sends otherwise."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def openvino() -> Any:
    """Return OpenVINO, without the telemetry that it sends otherwise; raises ImportError."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # the import fails
    import openvino

    return openvino
