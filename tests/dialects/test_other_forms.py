"""What clients of other services send to `/predict`: the error shows how to send it here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.signature import Signature, TensorSpec
from server.dialects.native.dialect import NativeDialect
from server.dialects.native.own_data import MAX_SHOWN, SMALL_BODY
from server.dialects.tfserving.dialect import TFServingDialect
from server.dialects.v2.dialect import V2Dialect
from server.errors import InvalidData, InvalidJSON, UnsupportedMediaType
from server.logs import PayloadLog
from tests.support.harness import JSON, over_http, serving

Y = TensorSpec("y", (1,), "float32")
SECRET = 741_185_033  # appears nowhere else
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(40)
IMAGES = {"PNG": PNG, "JPEG": JPEG, "GIF": b"GIF89a" + bytes(9), "WebP": b"RIFF\1\2\3\4WEBPVP8"}


def x(*shape: int | None, dtype: str = "float32", name: str = "x") -> TensorSpec:
    return TensorSpec(name, shape, dtype)


def dialect_of(*inputs: TensorSpec) -> NativeDialect:
    return NativeDialect(Signature(inputs, (Y,)))


def rejected(dialect: NativeDialect, document: Any) -> str:
    with pytest.raises(InvalidData) as caught:
        dialect.decode(json.dumps(document).encode())
    return str(caught.value)


def shown(dialect: NativeDialect, document: Any) -> Any:
    """Return the data that the error shows; it must be accepted."""
    _, mark, text = rejected(dialect, document).partition("data in this form")
    assert mark, "the error shows no data"
    body = text.partition(": ")[2].removesuffix(".")
    assert dialect.decode(body.encode())
    return json.loads(body)["data"]


def tensor(name: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": "FP32", "data": data}


SEVERAL = (x(1, dtype="int32", name="user"), x(2, name="item"))
ROWS = {"user": [[1], [2]], "item": [[1, 2], [3, 4]]}


@pytest.mark.parametrize(
    "inputs, document, data",
    [
        # bare values
        ((x(1),), 10, [10]),
        ((x(1),), [10], [10]),
        ((x(1),), [10, 20], [[10], [20]]),
        ((x(1),), [[10], [20]], [[10], [20]]),
        ((x(),), [10, 20], [10, 20]),
        ((x(3),), [1, 2, 3], [1, 2, 3]),
        ((x(None),), [1, 2, 3], [1, 2, 3]),
        ((x(1, dtype="string"),), "good", ["good"]),
        # rows without their own list
        ((x(1),), {"data": 10}, [10]),
        ((x(1),), {"data": [10, 20]}, [[10], [20]]),
        ((x(1),), {"data": [10], "more": 1}, [10]),
        # records
        ((x(1),), [{"x": 1}, {"x": 2}], [[1], [2]]),
        ((x(1),), [{"x": 1}], [[1]]),
        ((x(1),), {"x": 1}, [1]),
        ((x(1),), {"x": [1, 2]}, [[1], [2]]),
        ((x(2),), [{"a": 1, "b": 2}], [[1, 2]]),
        ((x(2),), {"a": 1, "b": 2}, [1, 2]),
        ((x(2),), {"data": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}, [[1, 2], [3, 4]]),
        (SEVERAL, [{"user": 1, "item": [1, 2]}, {"user": 2, "item": [3, 4]}], ROWS),
        (SEVERAL, {"user": 1, "item": [1, 2]}, {"user": [1], "item": [1, 2]}),
        (SEVERAL, {"data": {"user": [1, 2], "item": [[1, 2], [3, 4]]}}, ROWS),
        # TensorFlow Serving
        ((x(1),), {"instances": [[10], [20]]}, [[10], [20]]),
        ((x(1),), {"instances": [10, 20]}, [[10], [20]]),
        ((x(1),), {"instances": [10]}, [[10]]),
        ((x(2),), {"signature_name": "serving_default", "instances": [[1, 2]]}, [[1, 2]]),
        ((x(1),), {"inputs": [[10]]}, [[10]]),
        ((x(1),), {"inputs": {"x": [[10]]}}, [[10]]),
        (
            SEVERAL,
            {"instances": [{"user": [1], "item": [1, 2]}]},
            {"user": [[1]], "item": [[1, 2]]},
        ),
        (SEVERAL, {"inputs": ROWS}, ROWS),
        # Open Inference Protocol
        ((x(2),), {"inputs": [tensor("x", [2, 2], [1, 2, 3, 4])]}, [[1, 2], [3, 4]]),
        ((x(2),), {"inputs": [tensor("x", [1, 2], [[1, 2]])]}, [[1, 2]]),
        (
            SEVERAL,
            {"inputs": [tensor("item", [2, 2], [1, 2, 3, 4]), tensor("user", [2, 1], [1, 2])]},
            ROWS,
        ),
    ],
)
def test_the_error_shows_the_data_in_the_accepted_form(
    inputs: tuple[TensorSpec, ...], document: Any, data: Any
) -> None:
    dialect = dialect_of(*inputs)
    assert shown(dialect, document) == data
    assert "The first rows" not in rejected(dialect, document)


def test_only_the_first_rows_of_a_batch_are_shown() -> None:
    told = rejected(dialect_of(x(1)), list(range(100)))
    assert 'The first rows of your data in this form: {"data":[[0],[1]]}.' in told

    rows = [{"user": n, "item": [n, n]} for n in range(5)]
    assert shown(dialect_of(*SEVERAL), rows) == {"user": [[0], [1]], "item": [[0, 0], [1, 1]]}


@pytest.mark.parametrize(
    "document", [list(range(20_000)), {"instances": [[n] for n in range(20_000)]}]
)
def test_of_a_large_body_the_first_rows_are_shown(document: Any) -> None:
    assert len(json.dumps(document)) > SMALL_BODY
    assert shown(dialect_of(x(1)), document) == [[0], [1]]


def test_a_long_row_is_cut() -> None:
    for size in (1_000, 100_000):
        told = rejected(dialect_of(x(size)), {"instances": [[0.5] * size]})
        assert "first rows" in told or "Your data" in told
        assert 'in this form: {"data":[[0.5,0.5,' in told
        assert told.endswith("….")
        assert len(told) < 2 * MAX_SHOWN + 300


def test_records_without_the_names_of_inputs_must_be_in_the_order_of_the_training() -> None:
    order = "with the values in the order in which the model was trained"
    assert order in rejected(dialect_of(x(2)), [{"a": 1, "b": 2}])
    assert order not in rejected(dialect_of(x(1)), [{"x": 1}])


def test_bodies_of_other_protocols_are_told_their_path() -> None:
    dialect = dialect_of(x(1))
    assert "'instances' belong to /v1/models/…:predict." in rejected(dialect, {"instances": "?"})
    assert "or /v2/models/…/infer." in rejected(dialect, {"inputs": []})


@pytest.mark.parametrize(
    "document",
    [
        {"data": ["10"]},
        {"data": [None]},
        {"data": []},
        {},
        [],
        None,
        [{}],
        [{"x": "a"}],
        {"x": {"x": {"x": 1}}},
        {"inputs": [{"name": "x"}]},
        {"inputs": [tensor("x", [2, 1], [1])]},
        {"inputs": [tensor("x", [2**63, 2**63], [1])]},
        {"inputs": [tensor("x", [1.0, True], [1])]},  # type: ignore[list-item]  # on purpose
        {"inputs": [tensor("z", [1, 1], [1])]},
        [{"a": 1}, 2],
        [[[[1]]]],
    ],
)
def test_data_that_the_model_does_not_take_is_not_shown(document: Any) -> None:
    assert "in this form" not in rejected(dialect_of(x(1)), document)


@pytest.mark.parametrize("depth", [100, 250, 260, 900, 1020])
@pytest.mark.parametrize("frame", ["%s", '{"instances":%s}', '{"inputs":%s}', '[{"x":%s}]'])
def test_deep_lists_are_rejected_in_any_form(frame: str, depth: int) -> None:
    body = frame % ("[" * depth + "1" + "]" * depth)
    with pytest.raises((InvalidData, InvalidJSON)):
        dialect_of(x(1)).decode(body.encode())


# Not JSON at all


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "nan"])
@pytest.mark.parametrize("frame", ['{"data": [%s]}', '{"data":[[1],[%s]]}', '{"data":%s}', "%s"])
def test_nan_in_json_is_explained(frame: str, token: str) -> None:
    with pytest.raises(InvalidJSON) as caught:
        dialect_of(x(1)).decode((frame % token).encode())
    told = str(caught.value)
    assert f"JSON has no {token} (line 1 column " in told
    assert "null is not accepted" in told
    assert "an array of numpy (Content-Type: application/x-npy)" in told


def test_nan_is_explained_in_the_other_protocols_too() -> None:
    line = Signature((x(1),), (Y,))
    v2 = b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[NaN]}]}'
    for dialect, body, instead in (
        (TFServingDialect(line), b'{"instances":[[NaN]]}', "binary tensors to a path of /v2"),
        (V2Dialect("m", "1", line), v2, "binary tensors (binary_data_size)"),
        (dialect_of(*SEVERAL), b'{"data":[NaN]}', "binary tensors to a path of /v2"),
    ):
        with pytest.raises(InvalidJSON, match="JSON has no NaN") as caught:
            dialect.decode(body)
        assert instead in str(caught.value)


@pytest.mark.parametrize(
    "body", [b'{"data":["NaN" 1]}', b'{"data":[1, 2', b'{"NaN":1,}', b"", b'"NaN', b"[1,]"]
)
def test_other_mistakes_are_not_blamed_on_nan(body: bytes) -> None:
    with pytest.raises(InvalidJSON) as caught:
        dialect_of(x(1)).decode(body)
    assert "The body is not valid JSON: " in str(caught.value)


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_is_told_what_the_model_takes(kind: str) -> None:
    picture = Signature((x(28, 28, 1, name="image"),), (Y,))
    for dialect in (
        NativeDialect(picture),
        TFServingDialect(picture),
        V2Dialect("m", "1", picture),
    ):
        with pytest.raises(InvalidJSON) as caught:
            dialect.decode(IMAGES[kind])
        told = str(caught.value)
        assert f"The body is an image ({kind}), not JSON" in told
        assert "This model takes image: float32[28, 28, 1]." in told


@pytest.mark.parametrize("first", ["Content-Disposition: form-data", "content-type: image/png"])
def test_a_form_is_told_what_the_model_takes(first: str) -> None:
    picture = Signature((x(28, 28, 1, name="image"),), (Y,))
    body = f'--{70 * "-"}\r\n{first}; name="image"\r\n\r\n\0\xff\r\n--x--'.encode("latin-1")
    for dialect in (
        NativeDialect(picture),
        TFServingDialect(picture),
        V2Dialect("m", "1", picture),
    ):
        with pytest.raises(InvalidJSON) as caught:
            dialect.decode(body)
        told = str(caught.value)
        assert "The body is a form (multipart/form-data), not JSON. This model takes image" in told


@pytest.mark.parametrize("media_type", ["image/png", "multipart/form-data; boundary=x", ""])
def test_another_media_type_is_told_what_the_model_takes(media_type: str) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        dialect_of(x(28, 28, 1, name="image")).check({"content-type": media_type})
    told = str(caught.value)
    assert (
        "This model takes image: float32[28, 28, 1]. Send the values as JSON, or an array" in told
    )
    assert "application/x-npy" in told


def test_the_inputs_of_a_wide_model_are_shortened() -> None:
    wide = dialect_of(*(x(1, name=f"column_{index}") for index in range(100)))
    for call in (lambda: wide.decode(PNG), lambda: wide.check({"content-type": "image/png"})):
        with pytest.raises((InvalidJSON, UnsupportedMediaType)) as caught:
            call()
        assert len(str(caught.value)) < 600
    assert len(rejected(wide, [1])) < 600


# Over HTTP


@over_http
async def test_the_problem_document_says_how_to_send_it() -> None:
    async with serving() as server:
        for body, status, words in (
            (b"[1, 2]", 422, '{"data":[[1],[2]]}'),
            (b'[{"x": 1}]', 422, '{"data":[[1]]}'),
            (b'{"instances": [[1]]}', 422, '{"data":[[1]]}'),
            (b'{"data": [NaN]}', 400, "JSON has no NaN"),
            (PNG, 400, "This model takes x: float32[1]."),
            (JPEG, 400, "This model takes x: float32[1]."),
        ):
            response = await server.post(body)
            assert response.status == status
            assert words in response.json["detail"]
        response = await server.ask("POST", "/predict", {"Content-Type": "image/png"}, PNG)
        assert response.status == 415
        assert "This model takes x: float32[1]." in response.json["detail"]


@over_http
async def test_data_in_an_error_is_in_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors show clients their own data; only answered requests have a line, which is redacted."""
    payload_log = PayloadLog(str(tmp_path / "log"), redact=["x"])
    async with serving(payload_log=payload_log) as server:
        response = await server.post(b"[%d, 2]" % SECRET)
        assert str(SECRET) in response.json["detail"]
        assert (await server.post(b'{"data": [%d]}' % SECRET, {"Content-Type": JSON})).status == 200
        logged = [record.getMessage() for record in server.logs.records] + server.logs.accesses
    payload_log.close(10)

    lines = (tmp_path / "log").read_text()
    assert lines.count("\n") == 1
    assert '"input":"[redacted]"' in lines.replace(": ", ":")
    assert not any(str(SECRET) in line for line in [*logged, caplog.text])
