"""Metadata and statistics documents of the Open Inference Protocol V2.

https://github.com/kserve/open-inference-protocol, and Triton's statistics extension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, Protocol

import numpy as np

from model.signature import Signature, TensorSpec

Document = dict[str, Any]

SERVER_NAME: Final = "keras-batch-server"
PLATFORM: Final = "keras"
VARIABLE: Final = -1

_DATATYPES: Final = {"bool": "BOOL", "string": "BYTES", "bfloat16": "BF16"}
_PREFIXES: Final = {"f": "FP", "i": "INT", "u": "UINT"}


class Counted(Protocol):
    """The counters of a version: see `server.serving.counts.VersionCounts`."""

    answered_requests: int
    failed_requests: int
    queue_seconds: float
    model_seconds: float
    rows: int
    batches: dict[int, tuple[int, float]]
    last: float

    @property
    def calls(self) -> int:
        """The number of model calls."""


def of_server(version: str) -> Document:
    """Return the answer to `GET /v2`."""
    extensions = ["binary_tensor_data", "classification", "model_repository", "statistics"]
    return {"name": SERVER_NAME, "version": version, "extensions": extensions}


def of_model(
    name: str, versions: Sequence[str], signature: Signature, parameters: Document | None = None
) -> Document:
    """Return the metadata of a model; the first dimension of shapes is the rows.

    `parameters` are what the protocol has no fields for.
    """
    return {
        "name": name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in signature.inputs],
        "outputs": [_tensor(spec) for spec in signature.outputs],
        **({"parameters": parameters} if parameters else {}),
    }


def of_config(
    name: str, signature: Signature, *, max_rows: int, versions: int, processes: int
) -> Document:
    """Return the configuration of a model, as Triton's `model_config.proto` has it.

    Its dimensions are those of one row; a tensor without any has one of size 1, and `reshape`.
    """
    return {
        "name": name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "version_policy": {"latest": {"num_versions": versions}},
        "max_batch_size": max_rows,
        "input": [_configured(spec) for spec in signature.inputs],
        "output": [_configured(spec) for spec in signature.outputs],
        "dynamic_batching": {"preferred_batch_size": [], "max_queue_delay_microseconds": 0},
        "instance_group": [{"name": name, "kind": "KIND_CPU", "count": processes}],
    }


def of_statistics(name: str, version: str, counts: Counted) -> Document:
    """Return the statistics of a version since it was loaded; durations are in nanoseconds."""
    answered = counts.answered_requests
    total = counts.queue_seconds + counts.model_seconds
    stats = {
        "success": _duration(answered, total),
        "fail": _duration(counts.failed_requests, 0.0),
        "queue": _duration(answered, counts.queue_seconds),
        "compute_input": _duration(answered, 0.0),
        "compute_infer": _duration(answered, counts.model_seconds),
        "compute_output": _duration(answered, 0.0),
        "cache_hit": _duration(0, 0.0),
        "cache_miss": _duration(0, 0.0),
    }
    batches = [
        {
            "batch_size": rows,
            "compute_input": _duration(calls, 0.0),
            "compute_infer": _duration(calls, seconds),
            "compute_output": _duration(calls, 0.0),
        }
        for rows, (calls, seconds) in sorted(counts.batches.items())
    ]
    return {
        "name": name,
        "version": version,
        "last_inference": int(counts.last * 1000),
        "inference_count": counts.rows,
        "execution_count": counts.calls,
        "inference_stats": stats,
        "batch_stats": batches,
    }


@cache
def datatype(dtype: str) -> str:
    """Return the protocol's name for a dtype."""
    if dtype in _DATATYPES:
        return _DATATYPES[dtype]
    known = np.dtype(dtype)
    return f"{_PREFIXES[known.kind]}{known.itemsize * 8}"


def _configured(spec: TensorSpec) -> Document:
    kind = datatype(spec.dtype).replace("BYTES", "STRING")
    dims = [VARIABLE if size is None else size for size in spec.shape]
    tensor = {"name": spec.name, "data_type": f"TYPE_{kind}", "dims": dims or [1]}
    return tensor if dims else tensor | {"reshape": {"shape": []}}


def _tensor(spec: TensorSpec) -> Document:
    shape = [VARIABLE, *(VARIABLE if size is None else size for size in spec.shape)]
    return {"name": spec.name, "datatype": datatype(spec.dtype), "shape": shape}


def _duration(count: int, seconds: float) -> Mapping[str, int]:
    return {"count": count, "ns": round(seconds * 1e9)}
