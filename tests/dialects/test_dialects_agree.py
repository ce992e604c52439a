"""Every dialect decodes the same rows to the same tensors, and has schemas that fit."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from jsonschema import Draft202012Validator

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.config import PredictSettings
from server.dialects.interface import DecodedRequest
from server.dialects.table import NATIVE, TFSERVING, V2, Dialects
from server.dialects.v2 import binary as v2_binary
from server.dialects.v2 import documents

Y = TensorSpec("y", (1,), "float32")
DTYPES = ["bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "float32", "float64"]
NAMES = ["x", "a b", "é/~%"]


def dialects_of(*inputs: TensorSpec) -> Dialects:
    return Dialects("m", "1", Signature(inputs, (Y,)), PredictSettings())


def ways(arrays: dict[str, np.ndarray]) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Return a request for these rows in every form: its dialect, its body and its headers."""
    columns = {
        name: array.tolist() if array.dtype != object else _text(array)
        for name, array in arrays.items()
    }
    names, rows = list(columns), list(zip(*columns.values(), strict=True))
    named = [dict(zip(names, row, strict=True)) for row in rows]
    lone = columns[names[0]]
    is_lone = len(names) == 1
    for document in (
        {"instances": named},
        {"inputs": columns},
        *([{"instances": lone}, {"inputs": lone}] if is_lone else []),
    ):
        yield TFSERVING.name, json.dumps(document).encode(), {}
    yield NATIVE.name, json.dumps({"data": lone if is_lone else columns}).encode(), {}
    yield from _v2(arrays, columns)
    if is_lone and arrays[names[0]].dtype != object:
        file = io.BytesIO()
        np.save(file, arrays[names[0]])
        yield NATIVE.name, file.getvalue(), {"content-type": "application/x-npy"}


def _v2(
    arrays: dict[str, np.ndarray], columns: dict[str, list]
) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    described = [
        {"name": name, "shape": array.shape, "datatype": _datatype(array)}
        for name, array in arrays.items()
    ]
    for data in (
        {name: np.array(column, object).ravel().tolist() for name, column in columns.items()},
        columns,
    ):
        inputs = [{**each, "data": data[each["name"]]} for each in described]
        yield V2.name, json.dumps({"inputs": inputs}).encode(), {}
    tails = [v2_binary.to_bytes(array) for array in arrays.values()]
    inputs = [
        {**each, "parameters": {"binary_data_size": len(tail)}}
        for each, tail in zip(described, tails, strict=True)
    ]
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    yield V2.name, b"".join([head, *tails]), headers


def _datatype(array: np.ndarray) -> str:
    return documents.datatype("string" if array.dtype == object else str(array.dtype))


def _text(array: np.ndarray) -> list:
    return np.vectorize(bytes.decode, otypes=[object])(array).tolist()


def check_agreement(dialects: Dialects, arrays: dict[str, np.ndarray]) -> None:
    for name, body, headers in ways(arrays):
        for padded in (body, b" " * 5000 + body):  # small and large bodies are decoded differently
            if padded is not body and headers:
                continue
            decoded = dialects.by_name[name].decode(padded, headers)
            _same(decoded, arrays, name)


def _same(decoded: DecodedRequest, arrays: dict[str, np.ndarray], name: str) -> None:
    assert list(decoded.tensors.arrays) == list(arrays), name
    for key, array in decoded.tensors.arrays.items():
        assert array.dtype == arrays[key].dtype, name
        if array.dtype == object:
            cells = [c.encode() if isinstance(c, str) else c for c in array.ravel()]
            assert cells == arrays[key].ravel().tolist(), name
            assert array.shape == arrays[key].shape, name
        else:
            np.testing.assert_array_equal(array, arrays[key], name)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_same_rows_are_the_same_tensors(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 4))
    arrays = {}
    for name in NAMES[: data.draw(st.integers(1, 3))]:
        shape = data.draw(st.lists(st.integers(1, 3), max_size=3))
        dtype = data.draw(st.sampled_from(DTYPES))
        finite = {"allow_nan": False, "allow_infinity": False} if "float" in dtype else {}
        cells = st_numpy.from_dtype(np.dtype(dtype), **finite)
        arrays[name] = data.draw(st_numpy.arrays(dtype, (rows, *shape), elements=cells))
    vary = data.draw(st.booleans())
    specs = [
        TensorSpec(name, (None,) * (array.ndim - 1) if vary else array.shape[1:], str(array.dtype))
        for name, array in arrays.items()
    ]
    check_agreement(dialects_of(*specs), arrays)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=5).map(str.encode), min_size=1, max_size=5))
def test_the_same_strings_are_the_same_tensors(texts: list[bytes]) -> None:
    array = np.array([*texts, b""], object)[:-1]
    for spec, shaped in (
        (TensorSpec("x", (), "string"), array),
        (TensorSpec("x", (1,), "string"), array.reshape(-1, 1)),
    ):
        check_agreement(dialects_of(spec), {"x": shaped})


SIGNATURES = [
    (TensorSpec("x", (), "float32"),),
    (TensorSpec("x", (1,), "float32"),),
    (TensorSpec("x", (None, 3), "float64"), TensorSpec("z", (), "int8")),
    (TensorSpec("x", (None,), "int64", 0, 9),),
    (TensorSpec("x", (2,), "bool"), TensorSpec("z", (1,), "string")),
]


@pytest.mark.parametrize("inputs", SIGNATURES)
def test_every_example_is_valid_and_decodes_to_the_same_tensors(
    inputs: tuple[TensorSpec, ...],
) -> None:
    dialects = dialects_of(*inputs)
    decoded = {}
    for name, dialect in dialects.by_name.items():
        body = dialect.example(2)
        Draft202012Validator.check_schema(dialect.schema)
        Draft202012Validator(dialect.schema).validate(json.loads(body))
        decoded[name] = dialect.decode(body, {}).tensors
    for tensors in decoded.values():
        for key, array in tensors.arrays.items():
            assert array.tolist() == decoded[NATIVE.name].arrays[key].tolist()


def test_every_answer_follows_its_schema() -> None:
    dialects = dialects_of(SIGNATURES[0][0])
    for dialect in dialects.by_name.values():
        decoded = dialect.decode(dialect.example(2), {})
        answer = dialect.encode(Tensors({"y": np.float32([[1], [2]])}), decoded)
        Draft202012Validator(dialect.answer_schema).validate(json.loads(answer.body))
