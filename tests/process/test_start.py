"""Start of the server; if it fails, one line says why."""

from __future__ import annotations

import re
import signal
import socket
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import REAL, Server, cpu_seconds, is_alive, wait_until

pytestmark = pytest.mark.process

AT_ONCE = 5.0  # seconds; other processes may slow the machine down
INFO = re.compile(r"\S+Z INFO ")


def complaint(server: Server, within: float = 20.0) -> str:
    """Wait until the server exits with 2, and return the one line that says why.

    The line "listening on …" does not count: the server listens before it loads.
    """
    assert server.exit_code(within) == 2, server.stderr
    assert server.stdout == ""
    lines = [line for line in server.stderr.splitlines() if not INFO.match(line)]
    assert len(lines) == 1, server.stderr
    return lines[0]


@pytest.mark.parametrize(
    "arguments, environ, words",
    [
        (["--batching.max_rows", "0"], {}, "--batching.max_rows: 0 is less than the minimum of 1"),
        (["--http.prot", "1"], {}, "--http.prot: unknown flag (did you mean --http.port?)"),
        ([], {"SERVER_HTTP__PROT": "1"}, "environment SERVER_HTTP__PROT: unknown setting"),
        (["a.keras", "b.keras"], {}, "b.keras: only one MODEL can be given"),
        (["--http.tls_cert", "no"], {}, "http.tls_cert: 'no' cannot be read: No such file"),
    ],
)
def test_an_invalid_setting_is_reported(
    start: Start, arguments: list[str], environ: dict[str, str], words: str
) -> None:
    server = start(*arguments, command=REAL, environ=environ, ready=False)
    assert words in complaint(server)
    assert len(server.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "text, words",
    [
        ("batching:\n  max_row: 1\n", "batching.max_row: unknown setting (did you mean max_rows?)"),
        ("batching: [", "line 1"),
    ],
)
def test_an_invalid_settings_file_is_reported(
    start: Start, tmp_path: Path, text: str, words: str
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(text)
    server = start("--config", str(config), command=REAL, ready=False)
    line = complaint(server)
    assert line.startswith(f"{config}: ")
    assert words in line


def damaged(path: Path) -> Path:
    """Write a copy of an archive with one byte changed."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}" * 50)
        archive.writestr("model.weights.h5", "weights" * 50)
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    return path


def cut_off(path: Path) -> Path:
    content = damaged(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda path: path, "no such file"),
        (damaged, "is damaged"),
        pytest.param(cut_off, "is cut off or damaged", marks=pytest.mark.torture),
        pytest.param(empty, "is empty", marks=pytest.mark.torture),
        pytest.param(folder, "is a folder", marks=pytest.mark.torture),
        (lambda _: "https://example.com/model.keras", "is an address; download the file"),
    ],
)
def test_an_unusable_model_file_is_reported(
    start: Start, tmp_path: Path, make: Callable[[Path], Path | str], words: str
) -> None:
    model = str(make(tmp_path / "model.keras"))
    line = complaint(start(model, command=REAL, ready=False))
    assert words in line
    assert line.startswith(model[:6])


def test_a_file_with_another_hash_than_pinned_is_not_served(
    start: Start, example_model: Path
) -> None:
    flags = ("--model.sha256", "0" * 64)
    line = complaint(start(str(example_model), *flags, command=REAL, ready=False))
    assert line.startswith(f"{example_model}: its SHA-256 is ")
    assert f"but {'0' * 64} is expected" in line


@pytest.mark.torture  # TensorFlow starts slowly, and the tests of the model cover the cases
@pytest.mark.keras
def test_a_model_that_keras_cannot_load_is_reported(start: Start, tmp_path: Path) -> None:
    """The archive is intact. Messages of Keras and TensorFlow themselves do not count."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", '{"class_name": "Nothing", "config": {}}')
        archive.writestr("model.weights.h5", "")
    server = start(str(path), command=REAL, ready=False)

    assert server.exit_code(90) == 2
    lines = [line for line in server.stderr.splitlines() if line.startswith(str(path))]
    assert len(lines) == 1
    assert "Traceback" not in server.stderr


def test_a_port_in_use_is_reported(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = start("--http.port", str(port), command=REAL, ready=False)
        line = complaint(server)
    assert line == f"cannot listen on 127.0.0.1, port {port}: Address already in use"


def test_an_address_of_another_machine_is_reported(start: Start) -> None:
    server = start("--http.host", "no.such.host.invalid", command=REAL, ready=False)
    assert complaint(server).startswith("cannot listen on no.such.host.invalid, port 0: ")


def test_an_unwritable_payload_file_is_reported(start: Start) -> None:
    server = start("--logging.file", "no/such/folder/lines.jsonl", command=REAL, ready=False)
    line = complaint(server)
    assert line.startswith("logging.file: 'no/such/folder/lines.jsonl' cannot be opened: ")


def test_a_failed_import_while_loading_is_reported(start: Start) -> None:
    """For example, TensorFlow may not support this machine."""
    error = "libtensorflow_cc.so.2: cannot open shared object file"
    server = start(environ={"FAKE_LOAD_ERROR": error}, ready=False)
    assert error in complaint(server)
    assert "Traceback" not in server.stderr


@pytest.mark.torture
def test_a_failed_import_of_keras_is_reported(
    start: Start, tmp_path: Path, example_model: Path
) -> None:
    """The real server, with a broken Keras first on its path."""
    (tmp_path / "keras.py").write_text('raise ImportError("no TensorFlow on this machine")')
    shell = f'export PYTHONPATH="{tmp_path}:$PYTHONPATH"'
    server = start(str(example_model), command=REAL, shell=shell, ready=False)
    assert "no TensorFlow on this machine" in complaint(server)


def test_while_loading_the_server_is_alive_and_not_ready(start: Start) -> None:
    server = start(ready=False)
    server.load_gate.hold()  # in time, because the server imports first
    assert server.get("/v2/health/live").status == 200
    for answer in (server.get("/v2/health/ready"), server.post([10])):
        assert answer.status == 503
        assert "being loaded" in (answer.json.get("error") or answer.json["detail"])
        assert int(answer.headers["Retry-After"]) >= 1

    server.load_gate.release()
    server.until_ready()
    assert server.post([10]).prediction == 31


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_loading_exits_at_once(start: Start, number: signal.Signals) -> None:
    server = start(ready=False)
    server.load_gate.hold()
    assert server.get("/v2/health/ready").status == 503
    began = time.monotonic()
    server.signal(number)

    assert server.exit_code() == 0
    assert time.monotonic() - began < AT_ONCE
    assert "Traceback" not in server.stderr


@pytest.mark.torture
@pytest.mark.keras
def test_a_signal_while_importing_tensorflow_exits_at_once(
    start: Start, example_model: Path
) -> None:
    server = start(str(example_model), command=REAL, ready=False)
    assert server.get("/v2/health/ready").status == 503
    model = server.model_pid
    wait_until(lambda: cpu_seconds(model) > 1.5, what="the import of TensorFlow is under way")
    began = time.monotonic()
    server.signal()

    assert server.exit_code() == 0
    assert time.monotonic() - began < AT_ONCE
    assert "Traceback" not in server.stderr
    assert not is_alive(model)


def test_help_exits_with_0(start: Start) -> None:
    server = start("--help", command=REAL, ready=False)
    assert server.exit_code() == 0
    assert "--http.port" in server.stdout
    assert server.stderr == ""
