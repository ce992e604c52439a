from __future__ import annotations

import json
import logging
import os
import re
import resource
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.config import ConfigError
from server.logs import PayloadLog
from server.logs.application import configure
from server.logs.format import line_format_of

ROOT = Path(__file__).parents[2]
TEXT = line_format_of("text", None, {})
SOON = 10.0  # seconds to wait for something that should happen at once


class Warnings(logging.Handler):
    """Takes the warnings of the payload log away from other handlers; signals the first."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words: list[str] = []
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())
        self.came.set()


@pytest.fixture
def warnings(monkeypatch):
    logger = logging.getLogger("server.logs.line_writer")
    handler = Warnings()
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def pipe():
    """A pipe as two files without buffers; both are closed at the end."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as out, os.fdopen(writer, "wb", buffering=0) as into:
        yield out, into


@pytest.fixture
def payload_log(warnings, pipe):
    """Make payload logs; at the end they are closed, and their threads have ended."""
    logs = []
    before = set(threading.enumerate())

    def make(destination, **bounds):
        logs.append(PayloadLog(destination, **bounds))
        return logs[-1]

    yield make
    pipe[0].close()  # ends blocked writes
    for log in logs:
        log.close(SOON)
    for thread in set(threading.enumerate()) - before:
        thread.join(SOON)
        assert not thread.is_alive()


def write(log, **changes):
    line = {"request_id": "r-1", "model": "m", "version": "1", "ms": "1.5"}
    line |= {"input": b'{"data": [10]}', "prediction": b'{"prediction": 31.0}'}
    log.write(**(line | changes))


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def fill(file) -> None:
    """Fill a pipe to the last byte, so that the next write waits for a reader."""
    os.set_blocking(file.fileno(), False)
    for size in (4096, 1):
        while file.write(b"x" * size):  # None once nothing fits
            pass
    os.set_blocking(file.fileno(), True)


def test_a_line_is_one_json_object(payload_log, tmp_path):
    log = payload_log(str(tmp_path / "log"))
    before = datetime.now(UTC)
    write(log)
    log.close(SOON)

    [line] = records(tmp_path / "log")
    assert list(line) == ["time", "request_id", "model", "version", "input", "prediction", "ms"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert abs((datetime.fromisoformat(line.pop("time")) - before).total_seconds()) < SOON
    assert line == {
        "request_id": "r-1",
        "model": "m",
        "version": "1",
        "input": {"data": [10]},
        "prediction": {"prediction": 31.0},
        "ms": 1.5,
    }
    assert log.dropped == 0


def test_time_has_three_places_and_moves_on(payload_log, tmp_path, monkeypatch):
    log = payload_log(str(tmp_path / "log"))
    for now in (1_700_000_000.0009, 1_700_000_000.0625, 1_700_000_001.9999):
        with monkeypatch.context() as clock:
            clock.setattr("server.logs.payload.time.time", lambda now=now: now)
            write(log)
    log.close(SOON)

    assert [line["time"] for line in records(tmp_path / "log")] == [
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:20.062Z",
        "2023-11-14T22:13:21.999Z",
    ]


def test_line_ends_inside_a_body_become_spaces(payload_log, tmp_path):
    log = payload_log(str(tmp_path / "log"))
    write(log, input=b'{\r\n"data":\n[10]}\n', prediction=b"[\r1]")
    log.close(SOON)

    text = (tmp_path / "log").read_bytes()
    assert text.count(b"\n") == 1
    assert b"\r" not in text
    assert b'"input":{  "data": [10]} ,"prediction":[ 1],' in text


def test_a_body_that_is_too_large_is_left_out(payload_log, tmp_path):
    log = payload_log(str(tmp_path / "log"), max_bytes=4)
    write(log, input=b"[10]", prediction=b"[100]")
    write(log, input=b"[100]", prediction=b"[10]")
    log.close(SOON)

    first, second = records(tmp_path / "log")
    assert (first["input"], first["prediction"], first["prediction_bytes"]) == ([10], None, 5)
    assert "input_bytes" not in first
    assert (second["input"], second["input_bytes"], second["prediction"]) == (None, 5, [10])


def test_names_are_encoded(payload_log, tmp_path):
    log = payload_log(str(tmp_path / "log"))
    write(log, request_id='a"b', model="c\\d\n", version="\u2028é")
    write(log, model="a name of \udcff bytes")  # as from os.fsdecode of a file name
    log.close(SOON)

    first, second = records(tmp_path / "log")
    assert (first["request_id"], first["model"], first["version"]) == ('a"b', "c\\d\n", "\u2028é")
    assert second["model"] == "a name of ? bytes"


def test_lines_are_written_without_a_flush_and_in_order(payload_log, pipe):
    log = payload_log(pipe[1].fileno())
    lines = os.fdopen(os.dup(pipe[0].fileno()), "rb")

    for n in range(3):  # each is read before the next is written
        write(log, request_id=str(n))
        assert json.loads(lines.readline())["request_id"] == str(n)
    for n in range(500):
        write(log, request_id=str(n))
    assert [json.loads(lines.readline())["request_id"] for n in range(500)] == [
        str(n) for n in range(500)
    ]
    lines.close()


def test_standard_output_is_the_default(payload_log, capfd):
    log = payload_log("")
    write(log)
    log.close(SOON)

    out, err = capfd.readouterr()
    assert json.loads(out)["request_id"] == "r-1"
    assert err == ""


def test_a_file_is_appended_to(payload_log, tmp_path):
    (tmp_path / "log").write_bytes(b'{"old": 1}\n')
    log = payload_log(str(tmp_path / "log"))
    write(log)
    log.close(SOON)

    assert [next(iter(line)) for line in records(tmp_path / "log")] == ["old", "time"]


@pytest.mark.parametrize("torn", [b'{"old": 1}\n{"to', b"{"])
def test_an_incomplete_last_line_is_ended_first(torn, payload_log, tmp_path):
    (tmp_path / "log").write_bytes(torn)
    log = payload_log(str(tmp_path / "log"))
    write(log)
    log.close(SOON)

    *old, new = (tmp_path / "log").read_bytes().splitlines()
    assert old == torn.splitlines()
    assert json.loads(new)["request_id"] == "r-1"


def test_the_file_is_opened_again_after_a_rotation(payload_log, tmp_path):
    log = payload_log(str(tmp_path / "log"))
    (tmp_path / "log").rename(tmp_path / "log.1")
    write(log)
    log.close(SOON)

    assert (tmp_path / "log.1").read_bytes() == b""
    assert len(records(tmp_path / "log")) == 1


def test_a_replaced_file_is_opened_again(payload_log, tmp_path):
    log = payload_log(str(tmp_path / "log"))
    (tmp_path / "new").write_bytes(b'{"new": 1}\n{"torn')
    (tmp_path / "new").replace(tmp_path / "log")
    write(log)
    log.close(SOON)

    new, torn, line = (tmp_path / "log").read_bytes().splitlines()
    assert (new, torn, json.loads(line)["ms"]) == (b'{"new": 1}', b'{"torn', 1.5)


@pytest.mark.logs_warnings
def test_a_file_whose_folder_was_removed_is_tried_again(payload_log, warnings, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    log = payload_log(str(folder / "log"))
    folder.rename(tmp_path / "gone")
    write(log)
    assert warnings.came.wait(SOON)
    folder.mkdir()
    write(log, request_id="r-2")
    log.close(SOON)

    assert log.dropped == 1
    assert warnings.words == ["payload lines are lost: No such file or directory"]
    assert [line["request_id"] for line in records(folder / "log")] == ["r-2"]


def test_a_file_that_cannot_be_opened_is_a_config_error(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, reason in [
        (tmp_path / "no" / "log", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "fifo", "No such device or address"),  # nobody reads it
    ]:
        with pytest.raises(ConfigError) as caught:
            PayloadLog(str(path))
        assert str(caught.value) == f"logging.file: {str(path)!r} cannot be opened: {reason}"
    with pytest.raises(ConfigError, match="null byte"):
        PayloadLog("\0")


@pytest.mark.logs_warnings
def test_a_full_disk_is_counted_and_survived_and_warned_of_once(payload_log, warnings):
    log = payload_log("/dev/full")
    write(log)
    assert warnings.came.wait(SOON)
    for _ in range(99):
        write(log)
    log.close(SOON)

    assert log.dropped == 100
    assert warnings.words == ["payload lines are lost: No space left on device"]


@pytest.mark.logs_warnings
def test_a_closed_pipe_is_counted_and_survived(payload_log, warnings, pipe):
    log = payload_log(pipe[1].fileno())
    pipe[0].close()
    for _ in range(10):
        write(log)
    log.close(SOON)

    assert log.dropped == 10
    assert warnings.words == ["payload lines are lost: Broken pipe"]


@pytest.mark.logs_warnings
def test_a_descriptor_that_is_closed_is_counted_and_survived(payload_log, warnings, pipe):
    closed = os.dup(pipe[1].fileno())
    os.close(closed)
    log = payload_log(closed)
    write(log)
    log.close(SOON)

    assert log.dropped == 1
    assert warnings.words == ["payload lines are lost: Bad file descriptor"]


@pytest.mark.logs_warnings
@pytest.mark.parametrize("room", [0, 1, 30, -1])
def test_a_partly_written_line_is_completed_first(room, payload_log, warnings, tmp_path):
    """The disk is full after `room` bytes of the second of three lines; later there is room."""
    path = tmp_path / "log"
    path.write_bytes(b'{"old": 1}\n' * 100_000)  # larger than any other file of this process
    size = path.stat().st_size
    log = payload_log(str(path))
    with file_size_limit(size + length_of_line(payload_log, tmp_path) + room):
        for n in range(3):
            write(log, request_id=f"r-{n}")
        assert warnings.came.wait(SOON)
    write(log, request_id="r-9")
    log.close(SOON)

    new = records(path)[100_000:]  # each of them is JSON
    ids = [line["request_id"] for line in new]
    begun = {0: ["r-0"], 1: ["r-0", "r-1"], 30: ["r-0", "r-1"], -1: ["r-0"]}[room]
    assert ids == [*begun, "r-9"]
    assert log.dropped == 4 - len(ids)


@pytest.mark.logs_warnings
def test_a_partly_written_line_waits_for_room(payload_log, warnings, tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'{"old": 1}\n' * 100_000)
    log = payload_log(str(path), warn_every_s=0)
    with file_size_limit(path.stat().st_size + 30):
        for n in range(3):  # one line is written in part; then nothing of two more
            write(log, request_id=f"r-{n}")
            assert warnings.came.wait(SOON)
            warnings.came.clear()
    write(log, request_id="r-9")
    log.close(SOON)

    assert [line["request_id"] for line in records(path)[100_000:]] == ["r-0", "r-9"]
    assert log.dropped == 2


def length_of_line(payload_log, tmp_path) -> int:
    log = payload_log(str(tmp_path / "one"))
    write(log)
    log.close(SOON)
    return (tmp_path / "one").stat().st_size


class file_size_limit:  # noqa: N801  # reads as a context manager does
    """No file of this process grows beyond `size` bytes, so lines are partly written."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self) -> None:
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


@pytest.mark.logs_warnings
def test_a_blocked_reader_blocks_no_writer_and_gets_all_accepted_lines(payload_log, warnings, pipe):
    fill(pipe[1])
    log = payload_log(pipe[1].fileno(), buffer_lines=10)
    for n in range(100):
        write(log, request_id=f"r-{n}")

    assert log.dropped == 90
    assert len(warnings.words) == 1
    assert "the buffer is full" in warnings.words[0]

    read = b""
    while read.count(b"\n") < 10:
        read += pipe[0].read(65_536)
    lines = read.lstrip(b"x").splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == [f"r-{n}" for n in range(10)]


@pytest.mark.logs_warnings
def test_the_buffer_is_bounded_in_bytes(payload_log, warnings, pipe):
    fill(pipe[1])
    log = payload_log(pipe[1].fileno(), buffer_bytes=10_000)
    for _ in range(100):
        write(log, input=b'"' + b"x" * 3_000 + b'"')

    assert log.dropped == 96


def test_closing_does_not_wait_for_a_blocked_reader(payload_log, warnings, pipe):
    fill(pipe[1])
    log = payload_log(pipe[1].fileno())
    for _ in range(3):
        write(log)
    log.close(0.05)  # otherwise the timeout of the test ends it
    write(log)
    log.close(SOON)

    assert log.dropped == 4


def test_closing_writes_waiting_lines(payload_log, tmp_path):
    log = payload_log(str(tmp_path / "log"))
    for n in range(20_000):
        write(log, request_id=str(n))
    log.close(SOON)

    assert [line["request_id"] for line in records(tmp_path / "log")] == [
        str(n) for n in range(20_000)
    ]
    assert log.dropped == 0


def test_a_line_after_the_end_is_dropped(payload_log, tmp_path):
    log = payload_log(str(tmp_path / "log"))
    log.close(SOON)
    write(log)

    assert log.dropped == 1
    assert (tmp_path / "log").read_bytes() == b""


def test_a_non_blocking_descriptor_gets_every_line(payload_log, warnings, pipe):
    """Another process that shares the pipe can make it non-blocking."""
    os.set_blocking(pipe[1].fileno(), False)
    log = payload_log(pipe[1].fileno())
    for _ in range(2_000):
        write(log)

    read = b""
    while read.count(b"\n") < 2_000:
        read += pipe[0].read(65_536)
    assert len([json.loads(line) for line in read.splitlines()]) == 2_000
    assert log.dropped == 0


PROGRAM = """
import sys
from server.logs import PayloadLog
with open(sys.argv[1], "w"):  # reuses the number of the closed standard output
    log = PayloadLog("")
    for _ in range(1000):
        log.write(request_id="r", model="m", version="1", input=b"1" * 500, prediction=b"1", ms="1")
    log.close(0.5)
print(log.dropped, file=sys.stderr)
"""


def lines_lost(tmp_path, stdout=None, redirection="") -> int:
    """Run a process that logs to `stdout`; return its counters after it has ended."""
    command = ["sh", "-c", f'exec "$0" -c "$1" "$2" {redirection}', sys.executable, PROGRAM]
    process = subprocess.Popen(
        [*command, str(tmp_path / "other")], cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE
    )
    try:
        assert process.wait(30) == 0
        assert (tmp_path / "other").read_bytes() == b""
        return int(process.stderr.read().splitlines()[-1])
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_process_survives_a_standard_output_that_is_closed(tmp_path):
    assert lines_lost(tmp_path, redirection=">&-") == 1000


def test_a_process_survives_a_standard_output_that_is_full(tmp_path):
    assert lines_lost(tmp_path, redirection=">/dev/full") == 1000


def test_a_process_survives_a_standard_output_without_a_reader(tmp_path, pipe):
    pipe[0].close()
    assert lines_lost(tmp_path, stdout=pipe[1]) == 1000


def test_a_process_exits_while_its_standard_output_is_blocked(tmp_path, pipe):
    assert lines_lost(tmp_path, stdout=pipe[1]) > 0


# The application log.


@pytest.fixture
def loggers():
    """Restore the loggers."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_a_record_is_one_readable_line_on_standard_error(loggers, capsys):
    configure("info", TEXT)
    configure("info", TEXT)  # again, and still one line
    logging.getLogger("server.run").info("ready on %s", "http://127.0.0.1:8888")
    logging.getLogger("server.run").debug("not shown")

    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO server\.run: "
        r"ready on http://127\.0\.0\.1:8888\n",
        err,
    )


def test_the_level_is_the_lowest_that_is_shown(loggers, capsys):
    configure("debug", TEXT)
    logging.getLogger("server.run").debug("shown")
    configure("error", TEXT)
    logging.getLogger("server.run").info("not this")

    assert capsys.readouterr().err.endswith("DEBUG server.run: shown\n")


def test_text_from_clients_cannot_look_like_another_line(loggers, capsys):
    configure("info", TEXT)
    logging.getLogger("server.access").info("GET %s", "/\r\nINFO \x1b[2J\x85\u2028é")

    err = capsys.readouterr().err
    assert err.endswith(r"GET /\x0d\x0aINFO \x1b[2J\x85\u2028é" + "\n")
    assert len(err.splitlines()) == 1
