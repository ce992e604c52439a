"""Model status and metadata documents of TensorFlow Serving."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from model.signature import Signature, TensorSpec

DTYPES: Final = {
    "bool": "DT_BOOL",
    "float16": "DT_HALF",
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "string": "DT_STRING",
    **{f"int{bits}": f"DT_INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"DT_UINT{bits}" for bits in (8, 16, 32, 64)},
}


def status_document(states: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """Return the status of versions, given the version, state and error message of each."""
    return {
        "model_version_status": [
            {
                "version": version,
                "state": state,
                "status": {
                    "error_code": "UNKNOWN" if message else "OK",
                    "error_message": message,
                },
            }
            for version, state, message in states
        ],
    }


def metadata_document(name: str, version: str, signature: Signature) -> dict[str, Any]:
    """Return a model's signature as the JSON of GetModelMetadataResponse."""
    definition = {
        "inputs": {spec.name: _tensor_info(spec, signature.name) for spec in signature.inputs},
        "outputs": {spec.name: _tensor_info(spec, signature.name) for spec in signature.outputs},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {signature.name: definition}}},
    }


def _tensor_info(spec: TensorSpec, signature_name: str) -> dict[str, Any]:
    sizes = ["-1", *("-1" if size is None else str(size) for size in spec.shape)]
    return {
        "dtype": DTYPES[spec.dtype],
        "tensor_shape": {
            "dim": [{"size": size, "name": ""} for size in sizes],
            "unknown_rank": False,
        },
        "name": f"{signature_name}_{spec.name}:0",
    }
