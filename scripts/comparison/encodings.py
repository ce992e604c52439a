"""Requests with one tensor in bytes, in the forms that servers take, and how to read answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

Form = Literal["bytes", "v2", "file"]
BOUNDARY = "a-boundary-that-is-in-no-tensor"
DATATYPES = {"float32": "FP32", "int32": "INT32"}


class Encoding(NamedTuple):
    """A request."""

    body: bytes
    headers: dict[str, str]


def encoded(form: Form, name: str, array: np.ndarray) -> Encoding:
    """Return a request with this array in one of the forms; `name` is that of the input."""
    return {"bytes": in_body, "v2": in_bytes, "file": in_file}[form](name, array)


def in_body(name: str, array: np.ndarray) -> Encoding:
    """Return a request whose body is the numbers."""
    del name
    return Encoding(_bytes(array), {"Content-Type": "application/octet-stream"})


def in_bytes(name: str, array: np.ndarray) -> Encoding:
    """Return a request of the Open Inference Protocol with binary data, and a binary answer."""
    sized = described(name, array) | {"parameters": {"binary_data_size": array.nbytes}}
    document = {"inputs": [sized], "parameters": {"binary_data_output": True}}
    text = json.dumps(document).encode()
    return Encoding(text + _bytes(array), {"Inference-Header-Content-Length": str(len(text))})


def in_file(name: str, array: np.ndarray) -> Encoding:
    """Return a form with the numbers as a file in the field `x`."""
    del name
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + _bytes(array) + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Encoding(body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})


def described(name: str, array: np.ndarray) -> dict[str, object]:
    """Return an input of the Open Inference Protocol, without its data."""
    return {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": array.shape}


def answered(body: bytes, headers: Mapping[str, str]) -> np.ndarray:
    """Return the numbers of an answer, in JSON or in bytes; raises ValueError."""
    of = {name.lower(): value for name, value in headers.items()}
    if body.startswith(b"[") and of.get("content-type", "").startswith("application/json"):
        return np.array(json.loads(body), np.float32).ravel()
    return np.frombuffer(body[int(of.get("inference-header-content-length", 0)) :], "<f4")


def _bytes(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
