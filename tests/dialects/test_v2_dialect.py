"""The Open Inference Protocol, version 2, in JSON: requests, answers, errors."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.batching import DeadlineExceeded, Overloaded
from server.dialects.interface import Encoded
from server.dialects.v2 import documents
from server.dialects.v2.dialect import V2Dialect, encode_error
from server.errors import (
    InvalidData,
    InvalidJSON,
    InvalidRequest,
    UnknownModel,
    UnsupportedMediaType,
)

Y = TensorSpec("y", (1,), "float32")
LINE = Signature((TensorSpec("x", (1,), "float32"),), (Y,))
GRID = Signature((TensorSpec("x", (2, 3), "float32"),), (Y,))
# The tensors of the example in the text of the protocol.
PRINTED = Signature(
    (TensorSpec("input0", (2,), "uint32"), TensorSpec("input1", (), "bool")),
    (TensorSpec("output0", (2,), "float32"),),
)


def dialect_of(signature: Signature = LINE, *, as_null: bool = False) -> V2Dialect:
    return V2Dialect("m", "3", signature, non_finite_as_null=as_null)


def tensor(name: str = "x", datatype: str = "FP32", **fields: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [1, 1], "data": [10]} | fields


def body_of(*inputs: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"inputs": list(inputs or [tensor()]), **fields}).encode()


def arrays(signature: Signature, *inputs: dict[str, Any]) -> dict[str, list[Any]]:
    decoded = dialect_of(signature).decode(body_of(*inputs)).tensors
    return {name: array.tolist() for name, array in decoded.arrays.items()}


def asked(signature: Signature = LINE, **fields: Any) -> Encoded:
    """Return an answer of ones to a request with these additional fields."""
    dialect = dialect_of(signature)
    call = dialect.decode(json.dumps(json.loads(dialect.example(2)) | fields).encode())
    ones = {s.name: np.ones((2, *s.shape), s.array_dtype) for s in signature.outputs}
    return dialect.encode(Tensors(ones), call)


def refused(body: bytes, signature: Signature = LINE) -> str:
    """Decode an invalid request; return the message, which must have the protocol's form."""
    with pytest.raises((InvalidData, InvalidRequest, InvalidJSON)) as caught:
        dialect_of(signature).decode(body)
    status, told, headers = encode_error(caught.value, "id")
    assert status == 400
    assert headers["Content-Type"] == "application/json"
    document = json.loads(told)
    assert list(document) == ["error"]
    return document["error"]


# Requests


def test_the_request_in_the_documentation_is_decoded() -> None:
    inputs = (
        tensor("input0", "UINT32", shape=[2, 2], data=[1, 2, 3, 4]),
        tensor("input1", "BOOL", shape=[2], data=[True, False]),
    )
    assert arrays(PRINTED, *inputs) == {"input0": [[1, 2], [3, 4]], "input1": [True, False]}
    assert arrays(PRINTED, *reversed(inputs)) == arrays(PRINTED, *inputs)


def test_data_is_flat_or_nested_as_its_shape_is() -> None:
    rows = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]
    flat, nested = (
        arrays(GRID, tensor(shape=[2, 2, 3], data=data)) for data in (list(range(1, 13)), rows)
    )
    assert flat == nested == {"x": rows}


@pytest.mark.parametrize(
    "dtype, datatype, cell",
    [
        ("bool", "BOOL", True),
        ("int8", "INT8", -128),
        ("int16", "INT16", 32767),
        ("int32", "INT32", -(2**31)),
        ("int64", "INT64", 2**63 - 1),
        ("uint8", "UINT8", 255),
        ("uint16", "UINT16", 65535),
        ("uint32", "UINT32", 2**32 - 1),
        ("uint64", "UINT64", 2**64 - 1),
        ("float16", "FP16", 0.5),
        ("float32", "FP32", -1.5),
        ("float64", "FP64", 1e300),
        ("string", "BYTES", "wörds"),
    ],
)
def test_every_datatype_has_its_name(dtype: str, datatype: str, cell: Any) -> None:
    spec = TensorSpec("x", (), dtype)
    signature = Signature((spec,), (TensorSpec("y", (), dtype),))
    dialect = dialect_of(signature)
    call = dialect.decode(body_of(tensor(datatype=datatype, shape=[1], data=[cell])))
    assert call.tensors.arrays["x"].dtype == spec.array_dtype
    assert call.tensors.arrays["x"].tolist() == [cell]

    given = cell.encode() if dtype == "string" else cell
    answer = Tensors({"y": np.array([given], spec.array_dtype)})
    [output] = json.loads(dialect.encode(answer, call).body)["outputs"]
    assert output == {"name": "y", "datatype": datatype, "shape": [1], "data": [cell]}
    assert documents.of_model("m", ["1"], signature)["inputs"][0]["datatype"] == datatype


def test_a_timeout_counts_microseconds_and_is_rounded_up() -> None:
    def timeout(microseconds: Any) -> int | None:
        return dialect_of().decode(body_of(parameters={"timeout": microseconds})).timeout_ms

    assert dialect_of().decode(body_of()).timeout_ms is None
    assert timeout(0) is None  # no timeout, as in Triton
    assert (timeout(1), timeout(1000), timeout(1001), timeout(2_500_000)) == (1, 1, 2, 2500)
    for wrong in (-1, 1.5, "1", True, [1]):
        assert "timeout" in refused(body_of(parameters={"timeout": wrong}))


def test_unknown_parameters_are_ignored() -> None:
    parameters = {"priority": 1, "sequence_id": 0, "sequence_start": False, "mine": "yes"}
    assert dialect_of().decode(body_of(tensor(parameters={"mine": 1}), parameters=parameters))


# Answers


def test_an_answer_names_model_version_and_id() -> None:
    assert json.loads(asked().body) == {
        "model_name": "m",
        "model_version": "3",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 1], "data": [1.0, 1.0]}],
    }
    assert json.loads(asked(id="forty-two").body)["id"] == "forty-two"
    assert json.loads(asked(id="").body)["id"] == ""
    assert asked().content_type == "application/json"
    assert not asked().headers


def test_requested_outputs_come_in_the_requested_order() -> None:
    signature = Signature(LINE.inputs, tuple(TensorSpec(n, (1,), "float32") for n in "abc"))

    def names(**fields: Any) -> list[str]:
        return [o["name"] for o in json.loads(asked(signature, **fields).body)["outputs"]]

    assert names() == names(outputs=[]) == ["a", "b", "c"]
    assert names(outputs=[{"name": "c"}, {"name": "a"}]) == ["c", "a"]
    for wrong, words in (([{"name": "d"}], "no output 'd'"), ([{"name": "a"}] * 2, "twice")):
        assert words in refused(body_of(outputs=wrong), signature)


def test_non_finite_numbers_are_written_by_name_or_as_null() -> None:
    y = np.float32([[np.nan], [np.inf], [-np.inf], [0.5]])
    for as_null, text in (
        (False, b"[NaN,Infinity,-Infinity,0.5]"),
        (True, b"[null,null,null,0.5]"),
    ):
        dialect = dialect_of(as_null=as_null)
        body = dialect.encode(Tensors({"y": y}), dialect.decode(dialect.example(4))).body
        assert body.endswith(b'"data":' + text + b"}]}")


def test_answers_follow_the_schema() -> None:
    for signature in (LINE, PRINTED):
        dialect = dialect_of(signature)
        Draft202012Validator(dialect.answer_schema).validate(json.loads(asked(signature).body))
        Draft202012Validator(dialect.schema).validate(json.loads(dialect.example(2)))


# Errors


@pytest.mark.parametrize(
    "body, words",
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "not an inference request"),
        (b"{}", "inputs"),
        (body_of().replace(b"10", b"NaN"), "JSON"),
        (b'{"inputs": []}', "inputs"),
        (b'{"inputs": [1]}', "/inputs/0"),
        (body_of(id=1), "/id"),
        (body_of(parameters=[]), "/parameters"),
        (body_of(outputs=[{}]), "/outputs/0"),
        (body_of(tensor(name="z")), "no input 'z'; its inputs are x"),
        (body_of(tensor(), tensor()), "twice"),
        (body_of(tensor(datatype="FP64")), "is FP32, not FP64"),
        (body_of(tensor(datatype="fp32")), "is FP32, not fp32"),
        (body_of(tensor(shape=[1])), "has the shape [-1, 1], not [1]"),
        (body_of(tensor(shape=[1, 1, 1])), "has the shape [-1, 1], not [1, 1, 1]"),
        (body_of(tensor(shape=[1, 2], data=[1, 2])), "has the shape"),
        (body_of(tensor(shape=[-1, 1])), "[-1, 1], where -1 is 1 or more, not [-1, 1]"),
        (body_of(tensor(shape=[0, 1], data=[])), "has the shape"),
        (body_of(tensor(shape=[1.5, 1])), "/inputs/0/shape"),
        (body_of(tensor(shape=["1", 1])), "/inputs/0/shape"),
        (body_of(tensor(shape=[2, 1])), "needs 2 elements, but its data has 1"),
        (body_of(tensor(data=[1, 2])), "needs 1 elements, but its data has 2"),
        (body_of(tensor(data=[[1], [2]])), "has the shape [2, 1]"),
        (body_of(tensor(data=[[1, 2]])), "/inputs/0/data/0"),
        (body_of(tensor(data=[[[1]]])), "/inputs/0/data/0/0"),
        (body_of(tensor(data=[])), "/inputs/0/data"),
        (body_of(tensor(data=10)), "/inputs/0/data"),
        (body_of(tensor(data=["10"])), "/inputs/0/data/0"),
        (body_of(tensor(data=[True])), "/inputs/0/data/0"),
        (body_of(tensor(data=[None])), "/inputs/0/data/0"),
        (body_of(tensor(data=[1e39])), "/inputs/0/data/0: the number is out of the range"),
        (body_of({"name": "x", "datatype": "FP32", "shape": [1, 1]}), "has no data"),
        (body_of(parameters={"sequence_id": 7}), "sequence_id"),
        (body_of(tensor(parameters={"shared_memory_region": "r"})), "shared_memory_region"),
        (body_of(parameters={"classification": 2}), "classification"),
        (body_of(parameters={"binary_data_output": 1}), "binary_data_output"),
    ],
)
def test_invalid_requests_are_rejected(body: bytes, words: str) -> None:
    assert words in refused(body)


def test_inputs_that_are_missing_or_differ_in_rows_are_rejected() -> None:
    first = tensor("input0", "UINT32", shape=[2, 2], data=[1, 2, 3, 4])
    assert "input1 is missing" in refused(body_of(first), PRINTED)
    second = tensor("input1", "BOOL", shape=[3], data=[True] * 3)
    assert "first dimension" in refused(body_of(first, second), PRINTED)


@pytest.mark.parametrize("size", [10**12, 2**63 - 1, 2**64 - 1, 2**64, 10**300, 1e300])
def test_the_shape_is_checked_against_the_size_of_the_data(size: float) -> None:
    """Nothing may be allocated for the claimed shape: that would end the process."""
    assert refused(body_of(tensor(shape=[size, 1])))
    ragged = Signature((TensorSpec("x", (None, None), "float32"),), (Y,))
    assert refused(body_of(tensor(shape=[size, size, size])), ragged)


def test_errors_keep_their_status_and_headers() -> None:
    assert encode_error(UnknownModel("There is no model m."), "id")[:2] == (
        404,
        b'{"error":"There is no model m."}',
    )
    assert encode_error(DeadlineExceeded(), "id").status == 504
    status, _, headers = encode_error(Overloaded("full", 2.5), "id")
    assert (status, headers["Retry-After"]) == (503, "3")
    status, body, _ = encode_error(ValueError("a secret"), "id")
    assert status == 500
    assert b"secret" not in body


def test_any_media_type_but_no_compression_is_accepted() -> None:
    dialect_of().check({})
    dialect_of().check({"content-type": "application/octet-stream"})
    with pytest.raises(UnsupportedMediaType):
        dialect_of().check({"content-encoding": "br"})


def test_the_payload_log_has_only_json() -> None:
    dialect, body = dialect_of(), body_of()
    answer = asked().body
    request = dialect.decode(body)
    assert dialect.input_excerpt(request, body) == body
    assert dialect.answer_excerpt(request, answer) == answer
    assert dialect.answer_excerpt(request, b'{"data":[NaN]}') == b"null"

    words = Signature(LINE.inputs, (TensorSpec("y", (), "string"),))
    call = dialect_of(words).decode(body)
    for text in ("Straße}", '"parameters":{"binary_data_size":'):
        told = dialect_of(words).encode(Tensors({"y": np.array([text.encode()], object)}), call)
        assert json.loads(dialect_of(words).answer_excerpt(call, told.body))["outputs"][0][
            "data"
        ] == [text]


# Properties

CELLS = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_an_answer_decodes_to_the_same_tensors(data: st.DataObject) -> None:
    """Outputs have the format of inputs, so an answer can be sent as a request."""
    shape = data.draw(st.lists(st.integers(1, 3), max_size=3))
    rows = data.draw(st.integers(1, 3))
    count = rows * int(np.prod(shape))
    cells = np.float32(data.draw(st.lists(CELLS, min_size=count, max_size=count)))
    array = cells.reshape(rows, *shape)
    spec = TensorSpec("x", tuple(shape), "float32")
    dialect = dialect_of(Signature((spec,), (spec,)))
    call = dialect.decode(dialect.example(rows))
    outputs = json.loads(dialect.encode(Tensors({"x": array}), call).body)["outputs"]

    again = dialect.decode(json.dumps({"inputs": outputs}).encode()).tensors.arrays["x"]

    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype


@settings(max_examples=25, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["inputs", "name", "shape", "datatype", "data", "parameters"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=8,
    )
)
def test_any_document_is_decoded_or_rejected(document: Any) -> None:
    """Any document is decoded or rejected."""
    for body in (document, {"inputs": document}, {"inputs": [tensor() | {"data": document}]}):
        with contextlib.suppress(InvalidData, InvalidJSON, InvalidRequest):
            dialect_of().decode(json.dumps(body).encode())
