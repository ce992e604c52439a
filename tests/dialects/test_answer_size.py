"""The size of an answer that is reserved before the model is called is an upper bound."""

from __future__ import annotations

import json

import numpy as np
import pytest

from model.signature import DTYPES, Signature, TensorSpec
from model.tensors import Tensors
from server.dialects.interface import Dialect
from server.dialects.native.dialect import NativeDialect
from server.dialects.native.npy import dumps
from server.dialects.tfserving.dialect import TFServingDialect
from server.dialects.v2.dialect import V2Dialect

X = TensorSpec("x", (1,), "float32")
NPY = {"content-type": "application/x-npy"}
NUMBERS = sorted(DTYPES - {"string"})
SHAPES = [(), (1,), (3,), (1, 1, 2), (4, 3, 1, 1)]


def widest(spec: TensorSpec, rows: int) -> np.ndarray:
    """Return rows of the numbers with the longest texts."""
    dtype = spec.array_dtype
    if dtype.kind == "f":
        texts = {2: -6.104e-05, 4: -1.2345678e-38, 8: -1.2345678901234567e-308}
        number: float = texts[dtype.itemsize]
    else:
        number = 0 if dtype.kind == "b" else int(np.iinfo(dtype).min or np.iinfo(dtype).max)
    return np.full((rows, *spec.row_shape(1)), number, dtype)


def sizes(dialect: Dialect, body: bytes, headers: dict[str, str], answer: Tensors) -> list[int]:
    """Return how many bytes are foreseen for an answer, and how many it has."""
    decoded = dialect.decode(body, headers)
    return [dialect.answer_bytes(decoded), len(dialect.encode(answer, decoded).body)]


def asked(rows: int, outputs: list[TensorSpec]) -> list[tuple[Dialect, bytes, dict[str, str]]]:
    """Return a request for so many rows in each form."""
    signature = Signature((X,), tuple(outputs))
    native, tfserving = NativeDialect(signature), TFServingDialect(signature)
    v2 = V2Dialect("m", "1", signature)
    cells = [[n] for n in range(rows)]
    data = [n for [n] in cells]
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 1], "data": data}
    binary = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    requests: list[tuple[Dialect, bytes, dict[str, str]]] = [
        (native, json.dumps({"data": cells}).encode(), {}),
        (tfserving, json.dumps({"instances": cells}).encode(), {}),
        (tfserving, json.dumps({"inputs": cells}).encode(), {}),
        (v2, json.dumps({"inputs": [tensor]}).encode(), {}),
        (v2, json.dumps(binary).encode(), {}),
    ]
    if len(outputs) == 1:
        requests.append((native, dumps(np.array(cells, np.float32)), NPY))
    return requests


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_is_never_larger_than_foreseen(dtype: str, shape: tuple[int, ...]) -> None:
    """Whatever stands around the rows has its place among the bytes of the headers."""
    spec = TensorSpec("an output with a \u00fcmlaut", shape, dtype)
    for rows in (1, 1000):
        answer = Tensors({spec.name: widest(spec, rows)})
        for request in asked(rows, [spec]):
            foreseen, has = sizes(*request, answer)
            assert has <= foreseen + 512, (request[0].name, rows)


def test_names_are_foreseen_in_every_row() -> None:
    outputs = [TensorSpec(f"output {n}", (1,), "int8") for n in range(20)]
    answer = Tensors({spec.name: widest(spec, 1000) for spec in outputs})
    for request in asked(1000, outputs):
        foreseen, has = sizes(*request, answer)
        assert has <= foreseen + 512, request[0].name


def test_large_answers_of_usual_numbers_are_foreseen_at_most_twice_as_large() -> None:
    spec = TensorSpec("y", (50,), "float32")
    rows = np.random.default_rng(1).random((1000, 50), np.float32)
    for request in asked(1000, [spec]):
        foreseen, has = sizes(*request, Tensors({"y": rows}))
        assert has <= foreseen + 512 <= 2 * has, request[0].name


def test_of_variable_dimensions_and_strings_the_known_part_is_foreseen() -> None:
    outputs = [TensorSpec("y", (None, 3), "float32"), TensorSpec("text", (1,), "string")]
    for dialect, body, headers in asked(10, outputs):
        foreseen = dialect.answer_bytes(dialect.decode(body, headers))
        assert 10 * 3 * 4 <= foreseen < 10_000
