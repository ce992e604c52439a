"""MLServer's content types in V2: base64 is decoded, others are taken or rejected by name."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.dialects.interface import Encoded
from server.dialects.v2 import binary as v2_binary
from server.dialects.v2.dialect import V2Dialect, encode_error
from server.errors import InvalidData, InvalidRequest

NUMBER, TEXT = TensorSpec("x", (1,), "float32"), TensorSpec("text", (), "string")
WORDS = Signature((TEXT,), (TensorSpec("label", (), "string"), TensorSpec("p", (), "float32")))
BOTH = Signature((TEXT, NUMBER), (TensorSpec("p", (), "float32"),))
ANY_BYTES = b"\xff\x00words"
LETTERS = base64.b64encode(ANY_BYTES).decode()
BASE64 = {"content_type": "base64"}


def dialect_of(signature: Signature = WORDS) -> V2Dialect:
    return V2Dialect("m", "1", signature)


def text(*cells: str, **fields: Any) -> dict[str, Any]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(cells)], "data": list(cells)}
    return tensor | fields


def number(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [10]} | fields


def body_of(*inputs: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"inputs": inputs, **fields}).encode()


def binary(*cells: bytes, **parameters: Any) -> tuple[bytes, dict[str, str]]:
    """Return a request with these elements after the JSON, and its headers."""
    tail = v2_binary.to_bytes(np.array(cells, object))
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(cells)]}
    head = body_of(tensor | {"parameters": {"binary_data_size": len(tail), **parameters}})
    return head + tail, {v2_binary.LENGTH_HEADER.lower(): str(len(head))}


def cells_of(body: bytes, signature: Signature = WORDS) -> list[Any]:
    return dialect_of(signature).decode(body).tensors.arrays["text"].tolist()


def refused(body: bytes, headers: Any = None, signature: Signature = WORDS) -> str:
    """Decode an invalid request; return the message, which must have the protocol's form."""
    with pytest.raises((InvalidData, InvalidRequest)) as caught:
        dialect_of(signature).decode(body, headers or {})
    status, told, _ = encode_error(caught.value, "id")
    assert status == 400
    [(key, message)] = json.loads(told).items()
    assert key == "error"
    return message


# base64 in requests


def test_the_request_in_the_documentation_of_mlserver_is_decoded() -> None:
    given = text("UHl0aG9uIGlzIGZ1bg==", parameters=BASE64)
    assert cells_of(body_of(given)) == [b"Python is fun"]


def test_base64_is_decoded_in_json_flat_or_nested_and_in_binary() -> None:
    assert cells_of(body_of(text(LETTERS, "", parameters=BASE64))) == [ANY_BYTES, b""]

    grid = Signature((TensorSpec("text", (2,), "string"),), WORDS.outputs)
    nested = text(parameters=BASE64, shape=[2, 2], data=[[LETTERS, "YQ=="], ["Yg==", ""]])
    assert cells_of(body_of(nested), grid) == [[ANY_BYTES, b"a"], [b"b", b""]]

    tensors = dialect_of().decode(*binary(LETTERS.encode(), b"YQ==", **BASE64)).tensors
    assert tensors.arrays["text"].tolist() == [ANY_BYTES, b"a"]


def test_the_content_type_of_a_request_is_that_of_its_inputs_of_bytes() -> None:
    assert cells_of(body_of(text(LETTERS), parameters=BASE64)) == [ANY_BYTES]

    tensors = dialect_of(BOTH).decode(body_of(text(LETTERS), number(), parameters=BASE64)).tensors
    assert tensors.arrays["text"].tolist() == [ANY_BYTES]
    assert tensors.arrays["x"].tolist() == [[10]]


def test_the_content_type_of_an_input_comes_first() -> None:
    plain = text(LETTERS, parameters={"content_type": "str"})
    assert cells_of(body_of(plain, parameters=BASE64)) == [LETTERS]
    bytes_ = text(LETTERS, parameters=BASE64)
    assert cells_of(body_of(bytes_, parameters={"content_type": "str"})) == [ANY_BYTES]


def test_requests_with_the_same_bytes_and_another_content_type_are_told_apart() -> None:
    """The JSON before binary tensors is often the same, so it is parsed once."""
    dialect = dialect_of()
    for _ in range(2):
        for parameters, cell in ((BASE64, ANY_BYTES), ({}, LETTERS.encode())):
            tensors = dialect.decode(*binary(LETTERS.encode(), **parameters)).tensors
            assert tensors.arrays["text"].tolist() == [cell]


@pytest.mark.parametrize(
    "wrong", ["*", "YQ", "YQ=", "YQ==YQ==", "YQ==\n", " YQ==", "_-8=", "é", "=", "data:,YQ=="]
)
def test_invalid_base64_is_rejected_with_its_input_and_element(wrong: str) -> None:
    words = "The element 1 of the input text is not valid base64"
    assert refused(body_of(text("YQ==", wrong, parameters=BASE64))) == words
    assert refused(*binary(b"YQ==", wrong.encode(), **BASE64)) == words


# Other content types


@pytest.mark.parametrize("name", ["np", "str", "", None])
def test_content_types_that_change_nothing_are_taken(name: str | None) -> None:
    parameters = {"content_type": name}
    assert cells_of(body_of(text(LETTERS, parameters=parameters))) == [LETTERS]
    assert cells_of(body_of(text(LETTERS), parameters=parameters)) == [LETTERS]


@pytest.mark.parametrize(
    "name, words",
    [
        ("datetime", "a time"),
        ("pd", "each column"),
        ("pd_json", "each column"),
        ("image", "pixels"),
        ("pil_image", "pixels"),
        ("json", "tensors"),
        ("Base64", "Supported are base64, np, str"),
        ("mine", "send what the model takes, without it"),
        ("m" * 10_000, "Supported are base64, np, str"),
    ],
)
def test_content_types_that_change_the_meaning_are_rejected_by_name(name: str, words: str) -> None:
    parameters = {"content_type": name}
    for body in (
        body_of(text("a"), parameters=parameters),
        body_of(text("a", parameters=parameters)),
        body_of(text("a"), outputs=[{"name": "label", "parameters": parameters}]),
    ):
        told = refused(body)
        assert f"The content type '{name}"[:60] in told
        assert words in told
        assert len(told) < 250


@pytest.mark.parametrize("wrong", [1, True, ["base64"], {"base64": 1}])
def test_a_content_type_is_a_string(wrong: Any) -> None:
    assert "content_type must be a string" in refused(
        body_of(text("a", parameters={"content_type": wrong}))
    )


@pytest.mark.parametrize("name", ["base64", "str"])
def test_content_types_of_bytes_are_rejected_for_numbers(name: str) -> None:
    parameters, line = {"content_type": name}, Signature((NUMBER,), BOTH.outputs)
    assert refused(body_of(number(parameters=parameters)), signature=line) == (
        f"The content type {name} is for BYTES, but x is FP32."
    )
    assert "the model has no such input" in refused(
        body_of(number(), parameters=parameters), signature=line
    )
    wanted = [{"name": "p", "parameters": parameters}]
    assert "but p is FP32" in refused(body_of(text("a"), outputs=wanted))


# base64 in responses


def answer(output: dict[str, Any], **fields: Any) -> Encoded:
    dialect = dialect_of()
    request = dialect.decode(body_of(text("YQ=="), outputs=[{"name": "label"} | output], **fields))
    label = np.array([ANY_BYTES], object)
    return dialect.encode(Tensors({"label": label, "p": np.float32([1])}), request)


def test_an_output_of_bytes_is_written_as_base64_where_a_request_wants_it() -> None:
    [output] = json.loads(answer({"parameters": BASE64}).body)["outputs"]
    assert output["data"] == [LETTERS]
    assert output["parameters"] == BASE64

    [output] = json.loads(answer({}, parameters=BASE64).body)["outputs"]  # is for the inputs
    assert "parameters" not in output


def test_binary_outputs_are_written_as_base64_too() -> None:
    body, _, headers = answer({"parameters": BASE64 | {"binary_data": True}})
    length = int(headers[v2_binary.LENGTH_HEADER])
    [output] = json.loads(body[:length])["outputs"]

    assert body[length:] == len(LETTERS).to_bytes(4, "little") + LETTERS.encode()
    assert output["parameters"] == BASE64 | {"binary_data_size": len(body) - length}


def test_a_response_in_base64_can_be_sent_as_a_request() -> None:
    echo = V2Dialect("m", "1", Signature((TEXT,), (TEXT,)))
    wanted = [{"name": "text", "parameters": BASE64}]
    request = echo.decode(body_of(text(LETTERS, parameters=BASE64), outputs=wanted))
    outputs = json.loads(echo.encode(request.tensors, request).body)["outputs"]

    assert echo.decode(body_of(*outputs)).tensors.arrays["text"].tolist() == [ANY_BYTES]
