"""A SavedModel folder behind the real server, in all dialects."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import Start
from tests.process.harness import CHECKOUT, REAL, Server, wait_until

pytestmark = [pytest.mark.process, pytest.mark.keras, pytest.mark.timeout(240)]

KEY = "secret"
SETTINGS = {"SERVER_BATCHING__MAX_ROWS": "4"}
# In a process of its own, so that the tests' own need not import TensorFlow.
EXPORT = """
import sys
import tensorflow as tf
for folder, factor in zip(sys.argv[1::2], map(float, sys.argv[2::2])):
    module = tf.Module()
    module.w = tf.Variable(factor)
    spec = tf.TensorSpec([None, 1], tf.float32, "x")
    module.f = tf.function(lambda x: {"y": x * module.w}, input_signature=[spec])
    tf.saved_model.save(module, folder, signatures={"scaled": module.f})
"""


def export(*folders_and_factors: object) -> None:
    command = [sys.executable, "-c", EXPORT, *map(str, folders_and_factors)]
    subprocess.run(command, check=True, capture_output=True, cwd=CHECKOUT)


def post(server: Server, path: str, document: dict[str, Any]) -> tuple[int, Any]:
    body = json.dumps(document)
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None


def test_a_saved_model_is_served_in_every_dialect(start: Start, tmp_path: Path) -> None:
    export(tmp_path / "models" / "7", 3)
    flags = ("--model.name", "m", "--model.signature", "scaled")
    server = start(str(tmp_path / "models"), *flags, command=REAL, environ=SETTINGS)
    tensor = {"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]}
    by_name = {"signature_name": "scaled", "instances": [[1], [2]]}
    by_default = {**by_name, "signature_name": "serving_default"}

    assert server.post([[1], [2]]).prediction == [3, 6]
    assert post(server, "/v1/models/m:predict", by_name) == (200, {"predictions": [[3], [6]]})
    assert post(server, "/v1/models/m:predict", by_default) == (
        400,
        {"error": 'Serving signature name: "serving_default" not found in signature def'},
    )
    status, answer = post(server, "/v2/models/m/infer", {"inputs": [tensor]})
    assert (status, answer["outputs"][0]["data"], answer["model_version"]) == (200, [3, 6], "7")
    metadata = server.get("/v1/models/m/metadata").json
    assert [*metadata["metadata"]["signature_def"]["signature_def"]] == ["scaled"]


@pytest.mark.torture
def test_a_folder_is_reloaded_and_rolled_back_until_it_is_deleted(
    start: Start, tmp_path: Path
) -> None:
    folder, before, new = tmp_path / "m", tmp_path / "before", tmp_path / "new"
    export(folder, 3, new, 5)
    server = start(str(folder), "--auth.api_keys", KEY, command=REAL, environ=SETTINGS)

    def answer() -> object:
        return post(server, "/predict", {"data": [1]})

    def roll_back() -> tuple[int, Any]:
        parameters = {"parameters": {"rollback": True}}
        return post(server, "/v2/repository/models/m/load", parameters)

    assert answer() == (200, {"prediction": 3})
    folder.rename(before)
    new.rename(folder)
    server.signal(signal.SIGHUP)
    wait_until(lambda: answer() == (200, {"prediction": 5}), 60, "answers of the new folder")
    assert roll_back()[0] == 200
    assert answer() == (200, {"prediction": 3})
    assert roll_back()[0] == 200
    assert answer() == (200, {"prediction": 5})
    shutil.rmtree(before)
    status, error = roll_back()
    assert status == 400
    assert "was changed or deleted, so the version before is gone" in error["error"]
    assert answer() == (200, {"prediction": 5})
