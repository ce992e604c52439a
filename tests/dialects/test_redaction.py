"""Redaction of payload lines in every dialect, and sampling."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.config import PredictSettings
from server.dialects.redaction import HIDDEN
from server.dialects.table import NATIVE, TFSERVING, V2, Dialects
from server.dialects.v2 import binary as v2_binary
from server.logs import PayloadLog
from server.logs.open import open_payload_log
from tests.dialects.test_dialects_agree import ways
from tests.support.harness import NUMBER, over_http, serving, with_settings

SECRET, PLAIN = 7411, 5033  # numbers that appear nowhere else
SALARY, AGE = TensorSpec("salary", (2,), "float32"), TensorSpec("age", (), "int32")
RISK, LIMIT = TensorSpec("risk", (1,), "float32"), TensorSpec("limit", (1,), "float32")
ROWS = {
    "salary": np.full((3, 2), SECRET, np.float32),
    "age": np.full(3, PLAIN, np.int32),
}
ANSWER = {
    "risk": np.full((3, 1), SECRET, np.float32),
    "limit": np.full((3, 1), PLAIN, np.float32),
}
JSON_HEADERS = {"Content-Type": "application/json"}
SOON = 10.0


def lines(inputs: list[TensorSpec], outputs: list[TensorSpec], *names: str) -> Iterator[Any]:
    """Return both sides of a line, as JSON, for the same rows in every form of request."""
    dialects = Dialects("m", "1", Signature((*inputs,), (*outputs,)), PredictSettings())
    answer = Tensors({spec.name: ANSWER[spec.name] for spec in outputs})
    for name, body, headers in ways({spec.name: ROWS[spec.name] for spec in inputs}):
        dialect = dialects.by_name[name]
        call = dialect.decode(body, headers)
        if len(outputs) > 1 and headers.get("content-type"):
            continue  # numpy's format holds only one output
        told = dialect.encode(answer, call)
        data = dialect.input_excerpt(call, body)
        prediction = dialect.answer_excerpt(call, told.body)
        hidden = frozenset(names)
        yield (
            dialect.redacted("input", data, hidden).decode(),
            dialect.redacted("prediction", prediction, hidden).decode(),
        )


def test_an_input_of_several_is_hidden_in_every_dialect_and_the_others_stay() -> None:
    seen = list(lines([SALARY, AGE], [RISK, LIMIT], "salary"))

    assert len(seen) >= 5
    for data, prediction in seen:
        json.loads(data)
        assert str(SECRET) not in data
        assert str(SECRET) in prediction
    assert sum(HIDDEN in data and str(PLAIN) in data for data, _ in seen) >= 4


def test_an_output_of_several_is_hidden_in_every_dialect_and_the_others_stay() -> None:
    for data, prediction in lines([SALARY, AGE], [RISK, LIMIT], "risk"):
        json.loads(prediction)
        assert str(SECRET) not in prediction
        assert str(PLAIN) in prediction
        assert HIDDEN in prediction
        assert HIDDEN not in data


def test_a_single_input_is_hidden_although_it_has_no_name_in_the_body() -> None:
    seen = list(lines([SALARY], [RISK], "salary", "risk"))

    assert len(seen) >= 7
    for data, prediction in seen:
        assert json.loads(data) in (HIDDEN, None)  # the latter for arrays in numpy's format
        assert json.loads(prediction) in (HIDDEN, None)
    assert sum(json.loads(data) == HIDDEN for data, _ in seen) >= 6


def test_a_single_input_with_another_name_is_shown() -> None:
    for data, prediction in lines([SALARY], [RISK], "age"):
        assert HIDDEN not in data + prediction


@pytest.mark.parametrize(
    "dialect, body",
    [
        (NATIVE, {"data": {"salary": [1, SECRET], "age": PLAIN}}),
        (TFSERVING, {"instances": [{"salary": [1, SECRET], "age": PLAIN}]}),
        (TFSERVING, {"inputs": {"salary": [[1, SECRET]], "age": [PLAIN], "iban": SECRET}}),
        (TFSERVING, {"instances": [{"salary": [1, SECRET], "age": PLAIN}], "salary": SECRET}),
        (
            V2,
            {
                "id": str(SECRET),
                "parameters": {"salary": SECRET, "note": SECRET},
                "inputs": [
                    {
                        "name": "salary",
                        "shape": [1, 2],
                        "datatype": "FP32",
                        "data": [1, SECRET],
                        "parameters": {"note": SECRET},
                    },
                    {"name": "age", "shape": [1], "datatype": "INT32", "data": [PLAIN]},
                ],
            },
        ),
    ],
)
def test_anything_beside_the_inputs_is_removed(dialect: Any, body: Any) -> None:
    """With invented names, in another spelling, in the first of two duplicate keys."""
    signature = Signature((SALARY, AGE), (RISK,))
    spoken = Dialects("m", "1", signature, PredictSettings()).by_name[dialect.name]
    text = json.dumps(body)
    for written in (text, text.replace("salary", "s\\u0061lary")):
        request = spoken.decode(written.encode(), {})
        assert request.tensors.arrays["salary"].shape == (1, 2)
        data = spoken.input_excerpt(request, written.encode())

        shown = spoken.redacted("input", data, frozenset({"salary"})).decode()

        assert str(SECRET) not in shown
        assert str(PLAIN) in shown
        assert json.loads(shown)


def test_a_key_given_twice_is_hidden_twice() -> None:
    native = Dialects("m", "1", Signature((SALARY, AGE), (RISK,)), PredictSettings()).native
    body = b'{"data":{"salary":[1,%d],"salary":[1,2],"age":%d}}' % (SECRET, PLAIN)
    request = native.decode(body, {})
    data = native.input_excerpt(request, body)

    assert str(SECRET) not in native.redacted("input", data, frozenset({"salary"})).decode()


def test_binary_tensors_are_not_logged() -> None:
    body = b'{"inputs":[{"name":"salary","shape":[1,2],"datatype":"FP32","parameters":'
    body += b'{"binary_data_size":8}},{"name":"age","shape":[1],"datatype":"INT32","data":[5033]}]}'
    headers = {v2_binary.LENGTH_HEADER.lower(): str(len(body))}
    body += np.float32([SECRET, SECRET]).tobytes()
    dialect = Dialects("m", "1", Signature((SALARY, AGE), (RISK,)), PredictSettings()).by_name["v2"]
    request = dialect.decode(body, headers)
    data = dialect.input_excerpt(request, body)

    assert json.loads(dialect.redacted("input", data, frozenset({"salary"}))) == {
        "inputs": [
            {"name": "salary", "datatype": "FP32", "shape": [1, 2]},
            {"name": "age", "datatype": "INT32", "shape": [1], "data": [5033]},
        ]
    }


# In the log.


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def write(log: PayloadLog, **changes: Any) -> None:
    line: dict[str, Any] = {"request_id": "r", "model": "m", "version": "1", "ms": "1.5"}
    log.write(**(line | {"input": b"[10]", "prediction": b"31.0"} | changes))


def test_all_inputs_or_all_predictions_can_be_hidden(tmp_path: Path) -> None:
    for names in (["input"], ["prediction"], ["input", "prediction"]):
        log = PayloadLog(str(tmp_path / "log"), redact=names)
        write(log, redacted=lambda _, text, __: text)
        log.close(SOON)

        line = written(tmp_path / "log")[-1]
        assert line["input"] == (HIDDEN if "input" in names else [10])
        assert line["prediction"] == (HIDDEN if "prediction" in names else 31.0)


def test_without_a_redact_function_everything_is_hidden(tmp_path: Path) -> None:
    log = PayloadLog(str(tmp_path / "log"), redact=["salary"])
    write(log)
    log.close(SOON)

    [line] = written(tmp_path / "log")
    assert (line["input"], line["prediction"]) == (HIDDEN, HIDDEN)


def test_a_value_that_is_too_large_is_not_redacted(tmp_path: Path) -> None:
    log = PayloadLog(str(tmp_path / "log"), redact=["salary"], max_bytes=4)
    write(log, input=b"[10, 20]", redacted=lambda side, _, __: {"prediction": b"1"}[side])
    log.close(SOON)

    [line] = written(tmp_path / "log")
    assert (line["input"], line["input_bytes"], line["prediction"]) == (None, 8, 1)


@over_http
async def test_the_lines_of_requests_are_redacted(tmp_path: Path) -> None:
    [spec] = NUMBER.inputs
    log = PayloadLog(str(tmp_path / "log"), redact=[spec.name])
    v2 = {"name": spec.name, "shape": [1, 1], "datatype": "FP32", "data": [SECRET]}
    async with serving(payload_log=log) as server:
        name = server.service.model.name
        for path, body in [
            ("/predict", {"data": [SECRET]}),
            (f"/v1/models/{name}:predict", {"instances": [[SECRET]]}),
            (f"/v2/models/{name}/infer", {"inputs": [v2]}),
        ]:
            answer = await server.ask("POST", path, JSON_HEADERS, json.dumps(body).encode())
            assert answer.status == 200
    log.close(SOON)

    lines = written(tmp_path / "log")
    assert [line["input"] for line in lines] == [HIDDEN] * 3
    assert all(str(3 * SECRET + 1) in json.dumps(line["prediction"]) for line in lines)


# Sampling.


@over_http
async def test_sampled_answers_are_logged_and_others_not_counted_as_dropped(
    tmp_path: Path,
) -> None:
    log = PayloadLog(
        str(tmp_path / "log"), sample_rate=0.5, draw=iter([0.2, 0.5, 0.9, 0.4]).__next__
    )
    async with serving(payload_log=log) as server:
        for number in (10, 20, 30, 40):
            assert (await server.predict([number])).status == 200
    log.close(SOON)

    assert [line["input"] for line in written(tmp_path / "log")] == [[10], [40]]
    assert log.dropped == 0


def test_the_sample_rate_is_the_fraction_of_answers(tmp_path: Path) -> None:
    log = PayloadLog(str(tmp_path / "log"), sample_rate=0.25, draw=Random(1).random)
    taken = sum(log.takes_next() for _ in range(100_000))
    log.close(SOON)

    assert taken == pytest.approx(25_000, abs=600)  # four standard deviations


def test_a_sample_rate_of_1_draws_no_random_numbers(tmp_path: Path) -> None:
    log = PayloadLog(str(tmp_path / "log"), draw=lambda: pytest.fail("it drew"))
    assert log.takes_next()
    log.close(SOON)


@pytest.mark.parametrize("changes", [{"payload_sample": 0.0}, {"payloads": False}])
def test_a_sample_rate_of_0_opens_no_file(changes: dict[str, Any], tmp_path: Path) -> None:
    file = str(tmp_path / "log")
    settings = with_settings(logging={"file": file, **changes})

    assert open_payload_log(settings, nullcontext()) is None
    assert not Path(file).exists()


def test_the_settings_reach_the_log(tmp_path: Path) -> None:
    changes = {"payload_redact": ("input",), "file_max_bytes": 1, "file_backups": 2}
    settings = with_settings(logging={"file": str(tmp_path / "log"), **changes})
    log = open_payload_log(settings, nullcontext())
    assert log is not None
    for number in range(5):
        write(log, request_id=str(number))
    log.close(SOON)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert [written(tmp_path / name)[0]["request_id"] for name in ("log", "log.1", "log.2")] == [
        "4",
        "3",
        "2",
    ]
    assert written(tmp_path / "log")[0]["input"] == HIDDEN
