"""Pictures and a real server: its decoder processes, and files that nobody can decode."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.process.conftest import Start
from tests.process.harness import Server, wait_until
from tests.process.resident_memory import MIB, memory_of_all
from tests.process.test_clients import PROGRAM, PYTHON
from tests.process.test_decoder_processes import decoder_pids
from tests.support.picture_requests import image_body
from tests.support.pictures import base, bombs, damaged, saved

pytestmark = pytest.mark.process

SETTING = "{image: {image: {scale: 2, method: box}}}"
FILE = saved(base(64, 64), "PNG")
BOX = base(64, 64).resize((32, 32), Image.Resampling.BOX)
MEAN = 2 * float(np.asarray(BOX).mean())
HOSTILE = 1_000
MOST_GROWTH = 16 * MIB


def started(start: Start, *arguments: str) -> Server:
    return start("--model.inputs", SETTING, *arguments, environ={"FAKE_PICTURES": "1"})


def connected(server: Server) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection("127.0.0.1", server.port))


def post(connection: http.client.HTTPConnection, file: bytes) -> tuple[int, bytes]:
    sent = image_body([file])
    connection.request("POST", "/predict", sent.body, sent.headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def imports_pillow(pid: int) -> bool:
    return "/PIL/" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("transport", ["llhttp", "tornado"])
def test_a_decoder_process_decodes_pictures_and_the_main_process_does_not(
    start: Start, transport: str
) -> None:
    server = started(start, "--http.transport", transport)
    with connected(server) as connection:
        status, body = post(connection, FILE)

    assert status == 200, body
    assert json.loads(body)["prediction"] == pytest.approx(MEAN, abs=1e-3)
    [decoder] = decoder_pids(server)
    assert imports_pillow(decoder)
    assert not imports_pillow(server.process.pid)


def test_settings_that_do_not_fit_the_model_end_the_start(start: Start) -> None:
    server = start(
        "--model.inputs",
        "{photo: {image: {}}}",
        ready=False,
        environ={"FAKE_PICTURES": "1"},
    )

    wait_until(lambda: not server.is_running())

    assert server.exit_code() == 2
    assert "inputs.photo: the model has no such input; its inputs are image" in server.stderr


def test_the_triton_client_sends_pictures(start: Start, tmp_path: Path) -> None:
    server = started(start, "--model.name", "line")
    np.savez(tmp_path / "given.npz", image=np.array([FILE, FILE]))
    assert PYTHON.exists(), "the clients are missing: run `make clients`"

    address = f"127.0.0.1:{server.port}"
    command = [PYTHON, PROGRAM, "sync", "files", address, "line", tmp_path / "given.npz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[pytest.approx(MEAN, abs=1e-3)]] * 2


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_damaged_and_hostile_files_are_rejected_and_memory_stays_flat(start: Start) -> None:
    server = started(start)
    hostile = [file for file in bombs().values() if len(file) < 8 * 2**20]
    files = [*hostile, *(file for _, file in damaged(HOSTILE - len(hostile)))]
    assert len(files) == HOSTILE

    statuses: Counter[int] = Counter()
    with connected(server) as connection:
        for file in files[:200]:
            statuses[post(connection, file)[0]] += 1
        [decoder] = decoder_pids(server)
        before = memory_of_all(server.process.pid)
        for file in files[200:]:
            statuses[post(connection, file)[0]] += 1
        after = memory_of_all(server.process.pid)

        assert statuses == {422: HOSTILE}
        assert after - before < MOST_GROWTH
        assert decoder_pids(server) == [decoder]  # the same one all the time
        assert post(connection, FILE)[0] == 200
