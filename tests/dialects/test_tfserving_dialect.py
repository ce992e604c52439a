"""TensorFlow Serving's REST dialect: requests, answers, errors."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.batching import Overloaded
from server.dialects.tfserving.dialect import TFServingDialect, encode_error
from server.dialects.tfserving.documents import metadata_document, status_document
from server.errors import (
    InvalidData,
    InvalidJSON,
    InvalidRequest,
    UnknownModel,
    UnsupportedMediaType,
)

LINE = Signature((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (1,), "float32"),))
# The models in the examples of https://www.tensorflow.org/tfx/serving/api_rest
HALVES = Signature((TensorSpec("x", (), "float32"),), (TensorSpec("y", (), "float32"),))
TAGGED = Signature(
    (
        TensorSpec("tag", (), "string"),
        TensorSpec("signal", (None,), "int64"),
        TensorSpec("sensor", (None, 2), "int64"),
    ),
    (TensorSpec("score", (2,), "float32"), TensorSpec("code_bytes", (), "string")),
)


def call(signature: Signature, document: Any) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return TFServingDialect(signature).decode(body)


def arrays(signature: Signature, document: Any) -> dict[str, list[Any]]:
    tensors = call(signature, document).tensors
    return {name: array.tolist() for name, array in tensors.arrays.items()}


def answer(signature: Signature, document: Any, **outputs: Any) -> Any:
    """Return the body of an answer with these outputs."""
    dialect = TFServingDialect(signature)
    asked = dialect.decode(json.dumps(document).encode())
    return dialect.encode(Tensors({n: np.array(a) for n, a in outputs.items()}), asked).body


# The requests in the documentation of TensorFlow Serving.

ROWS = {
    "instances": [
        {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
        {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
    ]
}
COLUMNS = {
    "inputs": {
        "tag": ["foo", "bar"],
        "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
        "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]],
    }
}


def test_the_documented_rows_and_columns_are_the_same_request():
    assert arrays(TAGGED, ROWS) == arrays(TAGGED, COLUMNS) == COLUMNS["inputs"]


def test_the_documented_example_with_plain_values():
    assert arrays(HALVES, {"instances": [1.0, 2.0, 5.0]}) == {"x": [1, 2, 5]}
    assert answer(HALVES, {"instances": [1.0, 2.0, 5.0]}, y=np.float32([2.5, 3, 4.5])) == (
        b'{"predictions":[2.5,3.0,4.5]}'
    )


def test_the_documented_bytes_are_decoded():
    words = Signature((TensorSpec("text", (), "string"),), (TensorSpec("y", (), "float32"),))
    encoded = base64.b64encode(b"\xff\x00words").decode()
    assert arrays(words, {"instances": [{"b64": encoded}, "text"]}) == {
        "text": [b"\xff\x00words", "text"]
    }
    assert arrays(words, {"inputs": {"text": [{"b64": encoded}]}}) == {"text": [b"\xff\x00words"]}
    assert arrays(words, {"instances": [{"text": {"b64": encoded}}]}) == {
        "text": [b"\xff\x00words"]
    }


# Answers.


def test_a_single_output_has_no_name_and_keeps_its_axis():
    y = np.float32([[30.99], [31]])
    assert answer(LINE, {"instances": [[1], [2]]}, y=y) == b'{"predictions":[[30.99],[31.0]]}'
    assert answer(LINE, {"inputs": [[1], [2]]}, y=y) == b'{"outputs":[[30.99],[31.0]]}'


def test_several_outputs_are_objects_and_bytes_are_base64():
    outputs = {
        "score": np.float32([[1, 2], [3, 4]]),
        "code_bytes": np.array([b"\xff", b"a"], object),
    }
    codes = [{"b64": "/w=="}, {"b64": "YQ=="}]
    assert json.loads(answer(TAGGED, ROWS, **outputs)) == {
        "predictions": [
            {"score": [1.0, 2.0], "code_bytes": codes[0]},
            {"score": [3.0, 4.0], "code_bytes": codes[1]},
        ]
    }
    assert json.loads(answer(TAGGED, COLUMNS, **outputs)) == {
        "outputs": {"score": [[1.0, 2.0], [3.0, 4.0]], "code_bytes": codes}
    }


def test_non_finite_numbers_are_written_by_name():
    y = np.float32([[np.nan], [np.inf], [-np.inf], [0.5]])
    text = answer(LINE, {"instances": [[1]] * 4}, y=y)
    assert text == b'{"predictions":[[NaN],[Infinity],[-Infinity],[0.5]]}'


def test_whole_floats_have_a_point_and_integers_none():
    counts = Signature(LINE.inputs, (TensorSpec("y", (1,), "int32"),))
    assert answer(counts, {"instances": [[1]]}, y=np.int32([[3]])) == b'{"predictions":[[3]]}'
    assert answer(LINE, {"instances": [[1]]}, y=np.float32([[1e6]])) == (
        b'{"predictions":[[1000000.0]]}'
    )


# Edge cases, all as in json_tensor.cc.


def test_columns_ignore_other_names_and_rows_do_not():
    assert arrays(LINE, {"inputs": {"x": [[1]], "more": 1}}) == {"x": [[1]]}
    with pytest.raises(InvalidData):
        call(LINE, {"instances": [{"x": [1], "more": 1}]})
    with pytest.raises(InvalidData):
        call(TAGGED, {"instances": [{"tag": "foo", "signal": [1]}]})


def test_integers_must_be_written_as_such():
    whole = Signature((TensorSpec("x", (2,), "int32"),), LINE.outputs)
    assert arrays(whole, {"instances": [[1, 2]]}) == {"x": [[1, 2]]}
    for rows in ([[1.0, 2]], [[1, 2], [3, 1.5]], [[1, 1e3]]):
        with pytest.raises(InvalidData):
            call(whole, {"instances": rows})


@pytest.mark.parametrize("name", ["", "serving_default"])
def test_the_signature_name_is_accepted(name):
    assert arrays(LINE, {"signature_name": name, "instances": [[1]]}) == {"x": [[1]]}


@pytest.mark.parametrize(
    "document, error, words",
    [
        (b"", InvalidJSON, "JSON"),
        (b'{"instances": [[NaN]]}', InvalidJSON, "JSON"),
        ([], InvalidRequest, "object"),
        ({}, InvalidRequest, "Missing 'inputs' or 'instances' key"),
        ({"instances": [[1]], "inputs": [[1]]}, InvalidRequest, "only one of"),
        ({"instances": []}, InvalidData, "instances"),
        ({"instances": [1]}, InvalidData, "instances"),
        ({"instances": [["1"]]}, InvalidData, "instances"),
        ({"instances": [[True]]}, InvalidData, "instances"),
        ({"instances": [[None]]}, InvalidData, "instances"),
        ({"instances": [[1], {"x": [1]}]}, InvalidData, "instances"),
        ({"instances": [{"x": [1]}, [1]]}, InvalidData, "instances"),
        ({"instances": [[1, 2]]}, InvalidData, "instances"),
        ({"instances": [[1e39]]}, InvalidData, "float32"),
        ({"inputs": {"y": [[1]]}}, InvalidData, "inputs"),
        ({"inputs": 1}, InvalidData, "inputs"),
        ({"signature_name": "other", "instances": [[1]]}, InvalidRequest, "not found"),
        ({"signature_name": "other", "instances": []}, InvalidRequest, "not found"),
        ({"signature_name": 1, "instances": [[1]]}, InvalidData, "instances"),
    ],
)
def test_invalid_requests_are_rejected(document, error, words):
    with pytest.raises(error) as caught:
        call(LINE, document)
    status, body, headers = encode_error(caught.value, "id")
    assert status == 400
    assert headers["Content-Type"] == "application/json"
    assert words in json.loads(body)["error"]


def test_rows_of_different_shapes_and_columns_of_different_lengths_are_rejected():
    with pytest.raises(InvalidData):
        call(TAGGED, {"instances": [ROWS["instances"][0], {**ROWS["instances"][1], "signal": [1]}]})
    with pytest.raises(InvalidData):
        call(TAGGED, {"inputs": {**COLUMNS["inputs"], "tag": ["foo"]}})


def test_bad_base64_is_rejected():
    words = Signature((TensorSpec("text", (), "string"),), LINE.outputs)
    with pytest.raises(InvalidData):
        call(words, {"instances": [{"b64": "*"}]})
    with pytest.raises(InvalidData):
        call(words, {"instances": [{"b64": "YQ==", "more": 1}]})


@pytest.mark.parametrize("text", ["/wA=", "/wA", "/wA=="])
def test_base64_padding_is_optional_but_not_excessive(text):
    words = Signature((TensorSpec("text", (), "string"),), LINE.outputs)
    body = {"instances": [{"b64": text}]}
    if text.endswith("=="):
        with pytest.raises(InvalidData, match="base64"):
            call(words, body)
    else:
        assert arrays(words, body) == {"text": [b"\xff\x00"]}


def test_white_space_in_base64_is_skipped():
    """TensorFlow Serving decodes with Abseil, and many clients send lines of 76 characters."""
    words = Signature((TensorSpec("text", (), "string"),), LINE.outputs)
    image = bytes(range(256)) * 3
    for text in (base64.encodebytes(image).decode(), base64.b64encode(image).decode() + " \n"):
        assert arrays(words, {"instances": [{"b64": text}]}) == {"text": [image]}


@pytest.mark.parametrize("text", ["*", "é", "A", "Y*Q="])
def test_invalid_base64_is_rejected(text):
    words = Signature((TensorSpec("text", (), "string"),), LINE.outputs)
    with pytest.raises(InvalidData):
        call(words, {"instances": [{"b64": text}]})


def test_an_error_points_into_the_request():
    two = Signature((*LINE.inputs, TensorSpec("a/b", (2,), "int8")), LINE.outputs)
    rows = [{"x": [1], "a/b": [1, 2]}, {"x": [1], "a/b": [1, 300]}]
    with pytest.raises(InvalidData) as caught:
        call(two, {"instances": rows})
    assert caught.value.violations[0].pointer == "/instances/1/a~1b/1"
    columns = {"x": [[1], [1]], "a/b": [[1, 2], [1, 300]]}
    with pytest.raises(InvalidData) as caught:
        call(two, {"inputs": columns})
    assert caught.value.violations[0].pointer == "/inputs/a~1b/1/1"
    with pytest.raises(InvalidData) as caught:
        call(LINE, {"instances": [[1], [1e39]]})
    assert caught.value.violations[0].pointer == "/instances/1/0"


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 2), (0,), (2, 0)])
def test_rows_of_several_outputs_are_those_of_each(shape):
    specs = [TensorSpec("a%b", shape, "float32"), TensorSpec('"', shape, "int64")]
    signature = Signature(LINE.inputs, (*specs, TensorSpec("t", (1,), "string")))
    count = int(np.prod(shape))
    floats = (np.arange(2 * count, dtype=np.float32) / 2).reshape(2, *shape)
    texts = np.array([[b"],["], [b"%b"]], object)
    body = answer(
        signature,
        {"instances": [[1], [2]]},
        **{"a%b": floats, '"': floats.astype(np.int64), "t": texts},
    )
    rows = json.loads(body)["predictions"]
    assert [row["a%b"] for row in rows] == floats.tolist()
    assert [row['"'] for row in rows] == floats.astype(np.int64).tolist()
    assert [row["t"] for row in rows] == [["],["], ["%b"]]


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_integers_of_a_large_body_are_checked_too(form):
    whole = Signature((TensorSpec("x", (2,), "int32"),), LINE.outputs)
    rows = [[1, 2]] * 3000
    assert arrays(whole, {form: rows}) == {"x": rows}
    assert arrays(whole, {form: {"x": rows, "e1.5": 1e3}} if form == "inputs" else {form: rows})
    for wrong in ([1, 2.0], [1, 2e2]):
        with pytest.raises(InvalidData, match="integers"):
            call(whole, {form: [*rows, wrong]})


def test_errors_keep_their_status_and_headers():
    assert encode_error(UnknownModel("There is no model m."), "id")[:2] == (
        404,
        b'{"error":"There is no model m."}',
    )
    status, _, headers = encode_error(Overloaded("full", 2.5), "id")
    assert (status, headers["Retry-After"]) == (503, "3")


def test_any_media_type_but_no_compression_is_accepted():
    dialect = TFServingDialect(LINE)
    dialect.check({"content-type": "application/x-www-form-urlencoded"})
    with pytest.raises(UnsupportedMediaType):
        dialect.check({"content-encoding": "br"})


@pytest.mark.parametrize("signature", [LINE, HALVES, TAGGED])
def test_the_example_is_valid_and_a_large_body_decodes_alike(signature):
    dialect = TFServingDialect(signature)
    body = dialect.example(3)
    small, large = (dialect.decode(text).tensors for text in (body, body + b" " * 5000))
    assert len(small) == len(large) == 3
    for name, array in small.arrays.items():
        assert array.tolist() == large.arrays[name].tolist()
        assert array.dtype == large.arrays[name].dtype


def test_a_signature_is_asked_for_by_its_own_name():
    named = Signature(LINE.inputs, LINE.outputs, "scores")
    for name in ("scores", ""):
        assert arrays(named, {"signature_name": name, "instances": [[1]]}) == {"x": [[1]]}
    with pytest.raises(InvalidRequest) as caught:
        call(named, {"signature_name": "serving_default", "instances": [[1]]})
    assert str(caught.value) == (
        'Serving signature name: "serving_default" not found in signature def'
    )
    definitions = metadata_document("m", "3", named)["metadata"]["signature_def"]["signature_def"]
    assert definitions["scores"]["inputs"]["x"]["name"] == "scores_x:0"


def test_status_and_metadata_follow_the_protocol_buffers():
    assert status_document([("2", "AVAILABLE", ""), ("1", "END", "damaged")]) == {
        "model_version_status": [
            {
                "version": "2",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            },
            {
                "version": "1",
                "state": "END",
                "status": {"error_code": "UNKNOWN", "error_message": "damaged"},
            },
        ]
    }
    document = metadata_document("m", "3", TAGGED)
    assert document["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["sensor"]["tensor_shape"]["dim"] == [
        {"size": "-1", "name": ""},
        {"size": "-1", "name": ""},
        {"size": "2", "name": ""},
    ]
    assert signature["inputs"]["tag"]["dtype"] == "DT_STRING"
    assert signature["outputs"]["score"]["dtype"] == "DT_FLOAT"
