"""Every form in which rows can be sent beside the native one, and how its answers are read."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from model.signature import Signature
from server.dialects.interface import Encoded
from server.dialects.native import npy
from server.dialects.table import NATIVE, TFSERVING, V2
from server.dialects.v2 import binary as v2_binary
from server.dialects.v2 import documents

Arrays = dict[str, np.ndarray]
Headers = dict[str, str]
LENGTH = "Inference-Header-Content-Length"


class Form(NamedTuple):
    """A form: the dialect that it is of, its requests, its answers."""

    dialect: str
    write: Callable[[Arrays], tuple[bytes, Headers]]
    read: Callable[[Encoded, list[str]], dict[str, Any]]

    def can_say(self, signature: Signature) -> bool:
        """Tell whether it has words for what a model takes and gives."""
        return self.dialect != NATIVE.name or npy.supports(signature)


def _plain(array: np.ndarray) -> Any:
    """Return cells in lists, strings as text."""
    if not array.dtype.hasobject:
        return array.tolist()
    return np.array([_text(cell) for cell in array.ravel()], object).reshape(array.shape).tolist()


def _text(cell: str | bytes) -> str:
    return cell.decode() if isinstance(cell, bytes) else cell


def _array_request(rows: Arrays) -> tuple[bytes, Headers]:
    [array] = rows.values()
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue(), {"content-type": npy.MEDIA_TYPE}


def _array_answer(answer: Encoded, names: list[str]) -> dict[str, Any]:
    [name] = names
    return {name: np.load(io.BytesIO(answer.body)).tolist()}


def _row_request(rows: Arrays) -> tuple[bytes, Headers]:
    columns = [_plain(array) for array in rows.values()]
    instances = [dict(zip(rows, row, strict=True)) for row in zip(*columns, strict=True)]
    return json.dumps({"instances": instances}).encode(), {}


def _row_answer(answer: Encoded, names: list[str]) -> dict[str, Any]:
    predictions = json.loads(answer.body)["predictions"]
    if len(names) == 1:
        return {names[0]: predictions}
    return {name: [row[name] for row in predictions] for name in names}


def _column_request(rows: Arrays) -> tuple[bytes, Headers]:
    columns = {name: _plain(array) for name, array in rows.items()}
    return json.dumps({"inputs": columns}).encode(), {}


def _column_answer(answer: Encoded, names: list[str]) -> dict[str, Any]:
    outputs = json.loads(answer.body)["outputs"]
    return {names[0]: outputs} if len(names) == 1 else outputs


def _described(name: str, array: np.ndarray) -> dict[str, Any]:
    dtype = "string" if array.dtype.hasobject else str(array.dtype)
    return {"name": name, "datatype": documents.datatype(dtype), "shape": array.shape}


def _tensor_request(rows: Arrays) -> tuple[bytes, Headers]:
    inputs = [
        {**_described(name, array), "data": _plain(array.ravel())} for name, array in rows.items()
    ]
    return json.dumps({"inputs": inputs}).encode(), {}


def _tensor_answer(answer: Encoded, names: list[str]) -> dict[str, Any]:
    outputs = json.loads(answer.body)["outputs"]
    assert [output["name"] for output in outputs] == names
    return {
        output["name"]: np.array(output["data"], object).reshape(output["shape"]).tolist()
        for output in outputs
    }


def _as_utf8(array: np.ndarray) -> np.ndarray:
    if not array.dtype.hasobject:
        return array
    cells = np.empty(array.size, object)
    cells[:] = [_text(cell).encode() for cell in array.ravel()]
    return cells.reshape(array.shape)


def _bytes_request(rows: Arrays) -> tuple[bytes, Headers]:
    tails = [v2_binary.to_bytes(_as_utf8(array)) for array in rows.values()]
    inputs = [
        {**_described(name, array), "parameters": {"binary_data_size": len(tail)}}
        for (name, array), tail in zip(rows.items(), tails, strict=True)
    ]
    document = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    head = json.dumps(document).encode()
    return b"".join([head, *tails]), {LENGTH.lower(): str(len(head))}


def _bytes_answer(answer: Encoded, names: list[str]) -> dict[str, Any]:
    position = int(answer.headers[LENGTH])
    outputs = json.loads(answer.body[:position])["outputs"]
    assert [output["name"] for output in outputs] == names
    told = {}
    for output in outputs:
        tail = answer.body[position : position + output["parameters"]["binary_data_size"]]
        position += len(tail)
        cells = _strings(tail) if output["datatype"] == "BYTES" else _numbers(tail, output)
        told[output["name"]] = np.array(cells, object).reshape(output["shape"]).tolist()
    assert position == len(answer.body)
    return told


def _numbers(tail: bytes, output: dict[str, Any]) -> list[Any]:
    if output["datatype"] == "BOOL":
        return [bool(byte) for byte in tail]
    kind = {"FP": "f", "IN": "i", "UI": "u"}[output["datatype"][:2]]
    bits = int(output["datatype"].lstrip("FPINTU"))
    return np.frombuffer(tail, f"<{kind}{bits // 8}").tolist()


def _strings(tail: bytes) -> list[str]:
    cells, position = [], 0
    while position < len(tail):
        [length] = struct.unpack_from("<I", tail, position)
        cells.append(tail[position + 4 : position + 4 + length].decode())
        position += 4 + length
    return cells


FORMS = {
    "array": Form(NATIVE.name, _array_request, _array_answer),
    "rows": Form(TFSERVING.name, _row_request, _row_answer),
    "columns": Form(TFSERVING.name, _column_request, _column_answer),
    "tensors": Form(V2.name, _tensor_request, _tensor_answer),
    "tensors in bytes": Form(V2.name, _bytes_request, _bytes_answer),
}
