"""Binary tensors after the JSON: the binary tensor data extension of the V2 protocol."""

from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.dialects.interface import Encoded
from server.dialects.v2 import documents
from server.dialects.v2.binary import to_bytes
from server.dialects.v2.dialect import V2Dialect, encode_error
from server.errors import InvalidData, InvalidJSON, InvalidRequest

HEADER = "inference-header-content-length"
DTYPES = [
    *("bool", "float16", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
]
Y = TensorSpec("y", (1,), "float32")
LINE = Signature((TensorSpec("x", (2,), "float32"),), (Y,))
WORDS = Signature((TensorSpec("x", (), "string"),), (TensorSpec("y", (), "string"),))
# The tensors of the example in the text of the extension, except for its shape [3].
PRINTED = Signature(
    (TensorSpec("input0", (2,), "uint32"), TensorSpec("input1", (), "bool")),
    (TensorSpec("output0", (2,), "float32"),),
)


def dialect_of(signature: Signature) -> V2Dialect:
    return V2Dialect("m", "1", signature)


def tensor(name: str, datatype: str, shape: list[int], size: Any) -> dict[str, Any]:
    described = {"name": name, "datatype": datatype, "shape": shape}
    return {**described, "parameters": {"binary_data_size": size}}


def request(*inputs: dict[str, Any], tail: bytes = b"", **fields: Any) -> tuple[bytes, Any]:
    """Return a body and its headers."""
    text = json.dumps({"inputs": inputs, **fields}).encode()
    return text + tail, {HEADER: str(len(text))}


def line(shape: list[int], tail: bytes, size: Any = None) -> tuple[bytes, Any]:
    """Return a request for LINE."""
    return request(tensor("x", "FP32", shape, len(tail) if size is None else size), tail=tail)


def refused(signature: Signature, body: bytes, headers: Any) -> str:
    """Decode an invalid request; return the message, which must have the protocol's form."""
    with pytest.raises((InvalidData, InvalidRequest, InvalidJSON)) as caught:
        dialect_of(signature).decode(body, headers)
    status, told, _ = encode_error(caught.value, "id")
    assert status == 400
    return json.loads(told)["error"]


def split(encoded: Encoded) -> tuple[dict[str, Any], bytes]:
    """Return the JSON of an answer, and the bytes after it."""
    length = int(encoded.headers["Inference-Header-Content-Length"])
    return json.loads(encoded.body[:length]), encoded.body[length:]


# Requests


def test_the_request_in_the_documentation_is_decoded() -> None:
    body, headers = request(
        tensor("input0", "UINT32", [2, 2], 16),
        tensor("input1", "BOOL", [2], 2),
        tail=struct.pack("<4I", 1, 2, 3, 2**32 - 1) + b"\x01\x00",
        model_name="mymodel",
        outputs=[{"name": "output0", "parameters": {"binary_data": True}}],
    )
    decoded = dialect_of(PRINTED).decode(body, headers).tensors.arrays
    assert decoded["input0"].tolist() == [[1, 2], [3, 2**32 - 1]]
    assert decoded["input1"].tolist() == [True, False]


def test_json_and_binary_tensors_can_be_mixed() -> None:
    flags = {"name": "input1", "datatype": "BOOL", "shape": [1], "data": [True]}
    body, headers = request(flags, tensor("input0", "UINT32", [1, 2], 8), tail=bytes(8))
    decoded = dialect_of(PRINTED).decode(body, headers).tensors.arrays
    assert (decoded["input0"].tolist(), decoded["input1"].tolist()) == ([[0, 0]], [True])


def test_the_same_json_before_other_bytes_is_another_request() -> None:
    """The cache of parsed JSON does not hold the bytes after it."""
    dialect = dialect_of(LINE)
    for cells in ([1, 2], [3, 4], [1, 2]):
        body, headers = line([1, 2], np.float32(cells).tobytes())
        assert dialect.decode(body, headers).tensors.arrays["x"].tolist() == [cells]
    for tail in (bytes(4), bytes(12)):
        body, headers = line([1, 2], tail, size=8)
        with pytest.raises(InvalidData, match=r"too short|after the last input"):
            dialect.decode(body, headers)


@pytest.mark.parametrize("rows", [1, 100, 1000])
def test_json_before_bytes_may_have_data_of_any_length(rows: int) -> None:
    """Short JSON is cached, longer JSON is not, and the longest is decoded like large bodies."""
    dialect = dialect_of(PRINTED)
    flags = {"name": "input1", "datatype": "BOOL", "shape": [rows], "data": [True, *[False] * 999]}
    flags["data"] = flags["data"][:rows]
    for first in (1, 2):
        tail = np.uint32([[first, 0]] * rows).tobytes()
        body, headers = request(flags, tensor("input0", "UINT32", [rows, 2], len(tail)), tail=tail)
        decoded = dialect.decode(body, headers).tensors.arrays
        assert decoded["input0"].tolist() == [[first, 0]] * rows
        assert decoded["input1"].tolist() == flags["data"]


@pytest.mark.parametrize("padding", range(4))
def test_aligned_numbers_are_not_copied(padding: int) -> None:
    tail = np.float32([[1, 2], [3, 4]]).tobytes()
    body, headers = line([2, 2], tail)
    length = int(headers[HEADER]) + padding
    body = body[: -len(tail)] + b" " * padding + tail
    array = dialect_of(LINE).decode(body, {HEADER: str(length)}).tensors.arrays["x"]
    assert array.tolist() == [[1, 2], [3, 4]]
    assert array.flags.aligned
    address = np.frombuffer(body, np.uint8).ctypes.data + length
    is_view = np.may_share_memory(array, np.frombuffer(body, np.uint8))
    assert is_view == (address % 4 == 0)


def test_non_finite_numbers_are_preserved_in_both_directions() -> None:
    body, headers = line([2, 2], np.float32([np.nan, np.inf, -np.inf, 0]).tobytes())
    decoded = dialect_of(LINE).decode(body, headers).tensors.arrays["x"]
    np.testing.assert_array_equal(decoded, np.float32([[np.nan, np.inf], [-np.inf, 0]]))
    assert np.isnan(np.frombuffer(to_bytes(np.float32([np.nan])), np.float32))


def test_elements_of_bytes_start_with_their_length() -> None:
    texts = [b"", b"word", "Straße".encode(), b"\xff\x00"]
    tail = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    body, headers = request(tensor("x", "BYTES", [4], len(tail)), tail=tail)
    decoded = dialect_of(WORDS).decode(body, headers).tensors.arrays["x"]
    assert decoded.tolist() == texts
    assert to_bytes(decoded) == tail


# Answers


def test_outputs_are_binary_on_request() -> None:
    signature = Signature(LINE.inputs, tuple(TensorSpec(n, (1,), "float32") for n in "abc"))
    dialect, inputs = dialect_of(signature), tensor("x", "FP32", [1, 2], 8)
    answer = Tensors({name: np.float32([[n]]) for n, name in enumerate("abc")})

    def sizes(**fields: Any) -> dict[str, int | None]:
        body, headers = request(inputs, tail=bytes(8), **fields)
        document, tail = split(dialect.encode(answer, dialect.decode(body, headers)))
        found = {
            o["name"]: o.get("parameters", {}).get("binary_data_size") for o in document["outputs"]
        }
        in_bytes = [name for name, size in found.items() if size is not None]
        assert tail == b"".join(answer.arrays[name].tobytes() for name in in_bytes)
        assert all(("data" in o) == (o["name"] not in in_bytes) for o in document["outputs"])
        return found

    everything = {"parameters": {"binary_data_output": True}}
    assert sizes(**everything) == {"a": 4, "b": 4, "c": 4}
    in_bytes, in_json = ({"parameters": {"binary_data": flag}} for flag in (True, False))
    assert sizes(outputs=[{"name": "c", **in_bytes}, {"name": "a"}]) == {"c": 4, "a": None}
    outputs = [{"name": "b", **in_json}, {"name": "c"}, {"name": "a"}]
    assert sizes(**everything, outputs=outputs) == {"b": None, "c": 4, "a": 4}


def test_an_answer_in_json_has_no_extra_headers() -> None:
    body, headers = line([1, 2], bytes(8))
    dialect = dialect_of(LINE)
    encoded = dialect.encode(Tensors({"y": np.float32([[1]])}), dialect.decode(body, headers))
    assert encoded.content_type == "application/json"
    assert not encoded.headers
    assert json.loads(encoded.body)["outputs"][0]["data"] == [1.0]


def test_the_payload_log_has_the_json_of_a_request_without_binary() -> None:
    body, headers = request(
        tensor("x", "FP32", [1, 2], 8),
        tail=b"{}{}{}{}",
        parameters={"binary_data_output": True},
    )
    dialect = dialect_of(LINE)
    ascii_that_ends_as_json = np.frombuffer(b"   }", np.float32).reshape(1, 1)
    call = dialect.decode(body, headers)
    answer = dialect.encode(Tensors({"y": ascii_that_ends_as_json}), call)
    assert answer.content_type == "application/octet-stream"
    assert dialect.input_excerpt(call, body) == body[:-8]
    assert dialect.answer_excerpt(call, answer.body) == b"null"


# Errors


@pytest.mark.parametrize("size", [10**12, 2**63 - 1, 2**64, 10**300])
def test_the_shape_is_checked_against_the_size_of_the_data(size: int) -> None:
    """Nothing may be allocated for the claimed shape: that would end the process."""
    assert refused(LINE, *line([size, 2], bytes(8)))
    assert refused(LINE, *line([1, 2], bytes(8), size=size))
    words = request(tensor("x", "BYTES", [size], 8), tail=bytes(8))
    assert refused(WORDS, *words)


@pytest.mark.parametrize(
    "shape, tail, size, words",
    [
        ([1, 2], bytes(4), 4, "needs 8 bytes, not 4"),
        ([1, 2], bytes(12), 12, "needs 8 bytes, not 12"),
        ([1, 2], bytes(4), 8, "Body too short: the data of input x"),
        ([1, 2], bytes(12), 8, "4 bytes after the last input"),
        ([1, 2], bytes(8), -8, "must be a number of bytes"),
        ([1, 2], bytes(8), 8.0, "must be a number of bytes"),
        ([1, 2], bytes(8), "8", "must be a number of bytes"),
        ([1, 2], bytes(8), True, "must be a number of bytes"),
        ([0, 2], b"", 0, "has the shape"),
        ([1, 3], bytes(12), 12, "has the shape"),
    ],
)
def test_sizes_that_do_not_fit_are_rejected(
    shape: list[int], tail: bytes, size: Any, words: str
) -> None:
    assert words in refused(LINE, *line(shape, tail, size))


@pytest.mark.parametrize(
    "tail, words",
    [
        (b"\x01\x00\x00\x00a", "fewer elements"),
        (b"\x01\x00\x00\x00a\x01\x00", "fewer elements"),
        (b"\x01\x00\x00\x00a\x02\x00\x00\x00b", "longer than the rest"),
        (b"\x01\x00\x00\x00a\xff\xff\xff\xffb", "longer than the rest"),
        (b"\x01\x00\x00\x00a\x01\x00\x00\x00bc", "longer than its 2 elements"),
    ],
)
def test_bytes_that_do_not_fit_are_rejected(tail: bytes, words: str) -> None:
    assert words in refused(WORDS, *request(tensor("x", "BYTES", [2], len(tail)), tail=tail))


@pytest.mark.parametrize(
    "header, words",
    [
        ("-1", "Inference-Header-Content-Length"),
        ("+9", "Inference-Header-Content-Length"),
        ("x", "Inference-Header-Content-Length"),
        ("٣", "Inference-Header-Content-Length"),
        ("9" * 30, "Inference-Header-Content-Length"),
        ("1000", "Inference-Header-Content-Length"),
        ("0", "without JSON"),
        ("00", "without JSON"),
        ("5", "JSON"),
    ],
)
def test_an_invalid_length_of_the_json_is_rejected(header: str, words: str) -> None:
    body, _ = line([1, 2], bytes(8))
    assert words in refused(LINE, body, {HEADER: header})


def test_bytes_without_the_length_of_the_json_are_rejected() -> None:
    body, headers = line([1, 2], bytes(8))
    assert "JSON" in refused(LINE, body, {})
    without_tail = body[: int(headers[HEADER])]
    assert "too short" in refused(LINE, without_tail, {})


def test_data_and_bytes_for_one_input_are_rejected() -> None:
    both = tensor("x", "FP32", [1, 2], 8) | {"data": [1, 2]}
    assert "both" in refused(LINE, *request(both, tail=bytes(8)))


def test_a_bool_is_0_or_1() -> None:
    flags = Signature((TensorSpec("x", (), "bool"),), (Y,))
    assert "0 or 1" in refused(flags, *request(tensor("x", "BOOL", [2], 2), tail=b"\x01\x02"))


def test_ids_out_of_range_are_rejected() -> None:
    ids = Signature((TensorSpec("x", (), "int64", 0, 9),), (Y,))
    for id_ in (-1, 10):
        tail = np.int64([0, id_]).tobytes()
        assert "0 to 9" in refused(ids, *request(tensor("x", "INT64", [2], 16), tail=tail))


def test_nan_as_an_id_is_rejected() -> None:
    """A Sequential model that is built by its first call takes ids as floats."""
    ids = Signature((TensorSpec("x", (), "float32", 0, 9),), (Y,))
    for id_ in (np.nan, np.inf, -np.inf):
        tail = np.float32([0, id_]).tobytes()
        assert "0 to 9" in refused(ids, *request(tensor("x", "FP32", [2], 8), tail=tail))


# Properties


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_an_answer_decodes_to_the_same_tensors(data: st.DataObject) -> None:
    """Binary outputs have the format of inputs, so an answer can be sent as a request."""
    dtype = data.draw(st.sampled_from(DTYPES))
    shape = data.draw(st_numpy.array_shapes(min_dims=1, max_dims=4, max_side=3))
    array = data.draw(st_numpy.arrays(dtype, shape))
    check_round_trip(TensorSpec("x", shape[1:], dtype), array)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.binary(max_size=9), min_size=1, max_size=6))
def test_an_answer_with_strings_decodes_to_the_same_tensors(texts: list[bytes]) -> None:
    check_round_trip(WORDS.inputs[0], np.array([*texts, b""], object)[:-1])


def check_round_trip(spec: TensorSpec, array: np.ndarray) -> None:
    dialect = dialect_of(Signature((spec,), (spec,)))
    tail = to_bytes(array)
    described = tensor("x", documents.datatype(spec.dtype), list(array.shape), len(tail))
    parameters = {"binary_data_output": True}
    body, headers = request(described, tail=tail, parameters=parameters)
    call = dialect.decode(body, headers)
    decoded = call.tensors.arrays["x"]
    assert decoded.dtype == spec.array_dtype
    np.testing.assert_array_equal(decoded, array)

    document, out = split(dialect.encode(Tensors({"x": array}), call))

    assert out == tail
    assert document["outputs"] == [described]


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=24), st.integers(-2, 30), st.lists(st.integers(-2, 9), max_size=3))
def test_any_bytes_are_decoded_or_rejected(tail: bytes, size: int, shape: list[int]) -> None:
    for signature, datatype in ((LINE, "FP32"), (WORDS, "BYTES")):
        body, headers = request(tensor("x", datatype, shape, size), tail=tail)
        with contextlib.suppress(InvalidData, InvalidRequest):
            call = dialect_of(signature).decode(body, headers)
            assert list(call.tensors.arrays["x"].shape) == shape
            assert size == len(tail)
