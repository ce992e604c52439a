"""The same request in every dialect, for a model named line: how to send it and read the answer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from email.message import Message
from typing import NamedTuple

import numpy as np

JSON = "application/json"
NPY = "application/x-npy"
LENGTH = "Inference-Header-Content-Length"
V2 = "/v2/models/line/infer"


class Told(NamedTuple):
    """The prediction of an answer, and the model version if the body names it."""

    value: float
    version: str | None = None


class Question(NamedTuple):
    """A request with the row [1], and a function that reads its answer."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    read: Callable[[bytes, Message], Told]


def _native(body: bytes, _: Message) -> Told:
    return Told(json.loads(body)["prediction"])


def _array(body: bytes, _: Message) -> Told:
    return Told(np.load(io.BytesIO(body)).item())


def _rows(body: bytes, _: Message) -> Told:
    [[value]] = json.loads(body)["predictions"]
    return Told(value)


def _columns(body: bytes, _: Message) -> Told:
    [[value]] = json.loads(body)["outputs"]
    return Told(value)


def _tensors(body: bytes, _: Message) -> Told:
    document = json.loads(body)
    [value] = document["outputs"][0]["data"]
    return Told(value, document["model_version"])


def _bytes(body: bytes, headers: Message) -> Told:
    length = int(headers[LENGTH])
    [value] = np.frombuffer(body[length:], "<f4").tolist()
    return Told(value, json.loads(body[:length])["model_version"])


def _array_body() -> bytes:
    file = io.BytesIO()
    np.save(file, np.float32([1]))
    return file.getvalue()


def _tensor(**rest: object) -> dict[str, object]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 1], **rest}


def _in_bytes() -> Question:
    head = {
        "inputs": [_tensor(parameters={"binary_data_size": 4})],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    body = text + np.float32([1]).tobytes()
    return Question(V2, {LENGTH: str(len(text))}, body, _bytes)


QUESTIONS = {
    "native": Question("/predict", {"Content-Type": JSON}, b'{"data":[1]}', _native),
    "array": Question("/predict", {"Content-Type": NPY}, _array_body(), _array),
    "rows": Question("/v1/models/line:predict", {}, b'{"instances":[[1]]}', _rows),
    "columns": Question("/v1/models/line:predict", {}, b'{"inputs":{"x":[[1]]}}', _columns),
    "tensors": Question(V2, {}, json.dumps({"inputs": [_tensor(data=[1])]}).encode(), _tensors),
    "tensors in bytes": _in_bytes(),
}
