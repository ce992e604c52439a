"""Third-party clients, unchanged, with a real server process.

Triton's own client runs in the Python of `.clients`. For TensorFlow Serving, the requests in its
documentation (api_rest.md and docker.md of 2026) are sent verbatim:
https://github.com/tensorflow/serving/tree/master/tensorflow_serving/g3doc
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from tests.process.client_models import ROWS, all_sorts, documented
from tests.process.conftest import Start
from tests.process.harness import CHECKOUT, REAL, Server

pytestmark = pytest.mark.process

KEY = "a-key-for-tests"


class Served(NamedTuple):
    """A server with real models, and Keras's own predictions for the rows of `all_sorts`."""

    server: Server
    expected: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("models")
    models = {"all_sorts": all_sorts(), **documented()}
    for name, model in models.items():
        (folder / name).mkdir()
        model.save(folder / name / "123.keras")
    rows = {name: tf.constant(array) for name, array in ROWS.items()}
    expected = models["all_sorts"].predict(rows, verbose=0)
    expected["known"] = expected["known"].astype(np.bytes_)
    sources = [{"name": name, "path": str(folder / name)} for name in models]
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"models": sources, "batching": {"max_rows": 64}}))
    with Server(folder / "server", "--config", str(config), command=REAL) as server:
        yield Served(server.until_ready(), expected)


# Triton's own client

PYTHON = CHECKOUT / ".clients" / "bin" / "python"
PROGRAM = Path(__file__).with_name("ask_with_tritonclient.py")
KINDS = ["sync", "asyncio"]


def run(kind: str, what: str, server: Server, *arguments: str | Path) -> str:
    """Run a program and return its output."""
    assert PYTHON.exists(), "the clients are missing: run `make clients`"
    command = [PYTHON, PROGRAM, kind, what, f"127.0.0.1:{server.port}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_all_calls_of_the_triton_client_work(start: Start, kind: str) -> None:
    server = start("--model.name", "line", "--auth.api_keys", KEY)
    told: dict[str, Any] = json.loads(run(kind, "tour", server, KEY))

    assert all(told[name] for name in ("live", "ready", "model ready", "version 1 ready"))
    assert not any(told[name] for name in ("version 9 ready", "other ready"))
    assert "binary_tensor_data" in told["server"]["extensions"]
    assert told["model"] == {
        "name": "line",
        "versions": ["1"],
        "platform": "keras",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
        "outputs": [{"name": "dense", "datatype": "FP32", "shape": [-1, 1]}],
        "parameters": {"engine": "tensorflow"},
    }
    assert (told["answer"]["model_name"], told["answer"]["model_version"]) == ("line", "1")
    assert told["answer"]["id"] == "42"
    assert told["prediction"] == [[31.0]]
    [statistics] = told["statistics"]["model_stats"]
    assert (statistics["name"], statistics["version"]) == ("line", "1")
    assert statistics["inference_stats"]["success"]["count"] == statistics["inference_count"] == 1
    assert told["all statistics"] == told["statistics"]
    assert told["index"] == [{"name": "line", "version": "1", "state": "READY", "reason": ""}]
    assert told["no key"].startswith("401: ")
    assert told["load without key"].startswith("401: ")
    assert told["no such model"] == "404: There is no model other."
    assert told["no such version"] == "404: The model line has no version 9."
    assert told["sequence"] == "400: The parameter sequence_id is not supported."
    config = told["config"]
    assert (config["name"], config["backend"]) == ("line", "keras")
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}]
    assert config["max_batch_size"] > 0
    assert told["config of version 1"] == config
    for name in ("trace settings", "trace settings of a model", "log settings"):
        assert told[name].startswith("404: The service has no path /v2/")
    for name in ("shared memory", "shared memory of a region"):
        assert told[name].endswith("send tensors in the request, in bytes if they are large.")
    assert told["after the load"] == "2"
    assert told["ready after the unload"] is False
    assert told["ready after the next load"] is True


@pytest.mark.parametrize("kind", KINDS)
def test_the_triton_client_gets_classes_with_labels(start: Start, kind: str) -> None:
    """Y = 3 x + 1, the probability of the second label."""
    server = start("--model.name", "line", "--model.outputs", "{dense: {labels: [low, high]}}")
    told = json.loads(run(kind, "classes", server, "line", "dense"))

    classes = [["0.750000:0:low", "0.250000:1:high"], ["1.000000:1:high", "0.000000:0:low"]]
    assert told == {"json": classes, "bytes": classes}


@pytest.mark.keras
def test_tensors_of_all_types_work_in_json_and_in_binary(served: Served, tmp_path: Path) -> None:
    server, expected = served
    given = tmp_path / "given.npz"
    np.savez(given, **ROWS)

    for kind in KINDS:
        answered = tmp_path / f"{kind}.npz"
        run(kind, "tensors", server, "all_sorts", given, answered)
        with np.load(answered) as file:
            answers = dict(file)

        assert len(answers) == 4 * len(expected)
        for name, array in answers.items():
            wanted = expected[name.rpartition("/")[2]]
            assert array.shape == wanted.shape, name
            assert array.dtype == wanted.dtype, name
            if array.dtype.kind == "f":
                scale = np.abs(wanted).max()
                np.testing.assert_allclose(array, wanted, rtol=0, atol=1e-5 * scale, err_msg=name)
            else:
                np.testing.assert_array_equal(array, wanted, err_msg=name)


# Requests of TensorFlow Serving's documentation

AS_CURL_DOES = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "*/*"}
V1 = "/v1/models"


def ask(served: Served, path: str, body: str | None = None) -> tuple[int, str]:
    """Send a request, a POST if it has a body; return status and body of the answer."""
    port = served.server.port
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST" if body else "GET", path, body, AS_CURL_DOES)
        response = connection.getresponse()
        assert response.getheader("Content-Type") == "application/json"
        return response.status, response.read().decode()


def compact(text: str) -> str:
    """Return JSON without white space; numbers stay as they are written (4.0 is not 4)."""
    return re.sub(r"\s", "", text)


@pytest.mark.keras
def test_the_status_of_a_model(served: Served) -> None:
    """The last two lines are not in TensorFlow Serving's document, but in KServe's."""
    status, body = ask(served, f"{V1}/saved_model_half_plus_three")

    assert status == 200
    assert compact(body) == compact("""
        {
         "model_version_status": [
          {
           "version": "123",
           "state": "AVAILABLE",
           "status": {
            "error_code": "OK",
            "error_message": ""
           }
          }
         ],
         "name": "saved_model_half_plus_three",
         "ready": true
        }
    """)


PRINTED = [
    (
        "saved_model_half_plus_three",
        '{"instances": [1.0,2.0,5.0]}',
        """{
            "predictions": [3.5, 4.0, 5.5]
        }""",
    ),
    (
        "half_plus_two",
        '{"instances": [1.0, 2.0, 5.0]}',
        '{ "predictions": [2.5, 3.0, 4.5] }',
    ),
]


@pytest.mark.keras
@pytest.mark.parametrize("model, request_, answer", PRINTED)
def test_documented_requests_get_the_documented_answers(
    served: Served, model: str, request_: str, answer: str
) -> None:
    for path in (f"{V1}/{model}:predict", f"{V1}/{model}/versions/123:predict"):
        status, body = ask(served, path, request_)

        assert status == 200, body
        assert compact(body) == compact(answer)


PRINTED_ROWS = """
{
 "instances": [
   {
     "tag": "foo",
     "signal": [1, 2, 3, 4, 5],
     "sensor": [[1, 2], [3, 4]]
   },
   {
     "tag": "bar",
     "signal": [3, 4, 1, 2, 5]],
     "sensor": [[4, 5], [6, 8]]
   }
 ]
}
"""
PRINTED_COLUMNS = """
{
 "inputs": {
   "tag": ["foo", "bar"],
   "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
   "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]]
 }
}
"""
# Requests that are documented without an answer, and the answers of these models.
UNANSWERED = [
    ("strings", '{"instances": [ "foo", "bar", "baz" ]}', '{"predictions": [1, 2, 3]}'),
    (
        "matrices",
        '{"instances": [ [[1, 2]], [[3, 4]] ]}',
        '{"predictions": [[[3.0, 6.0]], [[9.0, 12.0]]]}',
    ),
    (
        "strings",
        '{"instances": [ { "b64": "aW1hZ2UgYnl0ZXM=" },'
        ' { "b64": "YXdlc29tZSBpbWFnZSBieXRlcw==" } ]}',
        '{"predictions": [4, 5]}',
    ),
    (
        "three_inputs",
        PRINTED_ROWS.replace("5]],", "5],"),
        '{"predictions": [{"number": 1, "sums": [15, 10]}, {"number": 2, "sums": [15, 23]}]}',
    ),
    (
        "three_inputs",
        PRINTED_COLUMNS,
        '{"outputs": {"number": [1, 2], "sums": [[15, 10], [15, 23]]}}',
    ),
]


@pytest.mark.keras
@pytest.mark.parametrize("model, request_, answer", UNANSWERED)
def test_documented_requests_without_an_answer_work(
    served: Served, model: str, request_: str, answer: str
) -> None:
    status, body = ask(served, f"{V1}/{model}:predict", request_)

    assert status == 200, body
    assert compact(body) == compact(answer)


@pytest.mark.keras
def test_a_surplus_bracket_is_invalid_json(served: Served) -> None:
    """One request in the documentation has one."""
    status, body = ask(served, f"{V1}/three_inputs:predict", PRINTED_ROWS)

    assert status == 400
    assert "JSON" in json.loads(body)["error"]


@pytest.mark.keras
def test_an_unknown_model_has_the_status_and_error_of_tensorflow_serving(served: Served) -> None:
    status, body = ask(served, f"{V1}/half:predict", '{"instances": [1.0,5.0]}')

    assert status == 404
    assert list(json.loads(body)) == ["error"]


@pytest.mark.keras
def test_regress_is_rejected_with_a_message(served: Served) -> None:
    """A Keras file has no signature for regression."""
    asked = '{"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}'
    status, body = ask(served, f"{V1}/saved_model_half_plus_three:regress", asked)

    assert status == 405
    assert list(json.loads(body)) == ["error"]


@pytest.mark.keras
def test_the_metadata_have_names_and_types(served: Served) -> None:
    status, body = ask(served, f"{V1}/three_inputs/metadata")

    assert status == 200
    document = json.loads(body)
    assert document["model_spec"]["version"] == "123"
    signatures = document["metadata"]["signature_def"]["signature_def"]
    inputs = signatures["serving_default"]["inputs"]
    assert {name: info["dtype"] for name, info in inputs.items()} == {
        "tag": "DT_STRING",
        "signal": "DT_INT64",
        "sensor": "DT_INT64",
    }
