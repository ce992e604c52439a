"""The format of lines on standard error: JSON for programs, text for people."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.config import Settings
from server.logs import Access, AccessLog
from server.logs.access import MAX_ACCESS_BYTES
from server.logs.application import configure, write_in_background
from server.logs.format import LineFormat, json_format, line_format_of, of_request, of_requests
from server.logs.line_writer import LineWriter

ROOT = Path(__file__).parents[2]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
NOW = 1_700_000_000.0625
SOON = 10.0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


JSON = line_format_of("json", None, {})
TEXT = line_format_of("text", None, {})
COLOURED = line_format_of("text", Terminal(), {})


@pytest.fixture
def loggers() -> Iterator[None]:
    """Restore the loggers."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def record(
    message: str,
    *arguments: object,
    level: int = logging.INFO,
    extra: Mapping[str, object] | None = None,
    exc_info: Any = None,
) -> logging.LogRecord:
    made = logging.LogRecord("server", level, "file", 1, message, arguments, exc_info)
    made.created = NOW
    vars(made).update(extra or {})
    return made


def broken() -> Any:
    """Return the exc_info of an exception whose message has text from a client."""
    try:
        raise RuntimeError("broken\nINFO server: all is well\x1b[2J")
    except RuntimeError:
        return sys.exc_info()


# The choice of the format.


@pytest.mark.parametrize(
    "word, stream, environ, expected",
    [
        ("auto", io.StringIO(), {}, "json"),
        ("auto", None, {}, "json"),  # standard error was closed
        ("auto", Terminal(), {"TERM": "xterm"}, "coloured"),
        ("auto", Terminal(), {"NO_COLOR": "1"}, "text"),
        ("auto", Terminal(), {"NO_COLOR": ""}, "coloured"),  # see no-color.org
        ("auto", Terminal(), {"TERM": "dumb"}, "text"),
        ("json", Terminal(), {}, "json"),
        ("text", io.StringIO(), {}, "text"),
        ("text", Terminal(), {}, "coloured"),
    ],
)
def test_the_line_format_depends_on_the_setting_and_the_terminal(
    word: str, stream: Any, environ: dict[str, str], expected: str
) -> None:
    line = line_format_of(word, stream, environ).formatter.format(record("it"))

    kind = "json" if line[0] == "{" else "coloured" if "\x1b[" in line else "text"
    assert kind == expected


# The application log.


def test_a_record_is_one_json_object() -> None:
    line = JSON.formatter.format(record("ready on %s", "é", extra=of_request("my-id")))

    assert list(json.loads(line).items()) == [
        ("time", "2023-11-14T22:13:20.062Z"),
        ("level", "info"),
        ("logger", "server"),
        ("message", "ready on é"),
        ("request_id", "my-id"),
    ]


def test_a_traceback_is_one_field_of_the_line() -> None:
    line = json.loads(JSON.formatter.format(record("failed", exc_info=broken())))

    assert line["message"] == "failed"
    assert line["traceback"].startswith("Traceback (most recent call last):\n  File ")
    assert line["traceback"].endswith("RuntimeError: broken\nINFO server: all is well\x1b[2J")


def test_a_line_of_several_requests_has_the_ids_of_all() -> None:
    made = record("failed", extra=of_requests(["a", "b"]))

    assert json.loads(JSON.formatter.format(made))["request_ids"] == ["a", "b"]
    assert TEXT.formatter.format(made).endswith("failed request_ids=a,b")


def test_text_lines_have_the_request_id_after_the_message() -> None:
    line = TEXT.formatter.format(record("failed", level=logging.ERROR, extra=of_request("my-id")))

    assert line == "2023-11-14T22:13:20.062Z ERROR server: failed request_id=my-id"


def test_colours_change_no_text() -> None:
    for made in (
        record("a"),
        record("b", level=logging.WARNING, extra=of_request("my-id")),
        record("c", level=logging.CRITICAL, exc_info=broken()),
        record("d", level=25),
    ):
        coloured = COLOURED.formatter.format(made)
        assert coloured.count("\x1b[0m") >= 2
        assert uncoloured(coloured) == TEXT.formatter.format(made)


def uncoloured(text: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", text)


def test_lines_of_a_traceback_are_indented() -> None:
    first, *below = TEXT.formatter.format(record("failed", exc_info=broken())).splitlines()

    assert first.endswith("INFO server: failed")
    assert below[0] == "    Traceback (most recent call last):"
    assert below[-2:] == ["    RuntimeError: broken", r"    INFO server: all is well\x1b[2J"]


def log_everything(line_format: LineFormat) -> None:
    """Log through the queue and the thread, as the service does, and wait until it is written."""
    configure("info", line_format)
    flush = write_in_background()
    log = logging.getLogger("server")
    log.info("one %s", "\nINFO\x1b[2J\x85\u2028\x7f", extra=of_request("my-id"))
    log.info("two", exc_info=broken())
    assert flush(SOON)


def test_the_background_writer_loses_nothing(loggers: None, capsys: Any) -> None:
    log_everything(JSON)

    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["message"], first["request_id"]) == ("one \nINFO\x1b[2J\x85\u2028\x7f", "my-id")
    assert second["message"] == "two"
    assert second["traceback"].startswith("Traceback")


def test_the_background_writer_keeps_tracebacks_on_separate_lines(
    loggers: None, capsys: Any
) -> None:
    log_everything(TEXT)

    first, second, *below = capsys.readouterr().err.splitlines()
    assert first.endswith(r"one \x0aINFO\x1b[2J\x85\u2028\x7f request_id=my-id")
    assert second.endswith("INFO server: two")
    assert below[0] == "    Traceback (most recent call last):"


# Text from clients.

TEXTS = st.text(st.characters(codec=None), max_size=50)  # lone surrogates, too


@given(TEXTS, TEXTS, TEXTS)
def test_any_message_is_one_line_of_json(method: str, path: str, client: str) -> None:
    """It is also one line for readers that split at U+2028 and C1 controls, as Python does."""
    lines = [
        JSON.access(NOW, Access(method, path, 200, 0.0123, "id", client)).decode(),
        JSON.formatter.format(record("%s", path, extra=of_requests([client]))) + "\n",
    ]
    for line in lines:
        assert len(line.splitlines()) == 1
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", line)
        told = json.loads(line)
        assert told.get("path", told.get("message")) == path.encode(errors="replace").decode()


@given(TEXTS, TEXTS, TEXTS)
def test_any_message_is_one_line_of_text(method: str, path: str, client: str) -> None:
    lines = [
        TEXT.access(NOW, Access(method, path, 200, 0.0123, "id", client)).decode(),
        TEXT.formatter.format(record("%s", path)) + "\n",
    ]
    for line in lines:
        assert len(line.splitlines()) == 1
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", line)


# The access log.


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., bytes]:
    """Return the line that an access log writes in a format."""

    def write(line_format: LineFormat, *access: Any, skip: Sequence[str] = ()) -> bytes:
        path = tmp_path / "access"
        path.unlink(missing_ok=True)
        log = AccessLog(line_format, threading.Lock(), str(path), skip)
        log.write(Access(*access))
        log.close(SOON)
        return path.read_bytes()

    return write


def test_a_path_to_skip_has_a_line_only_if_it_fails(write: Callable[..., bytes]) -> None:
    skip = Settings().logging.access_skip
    for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):
        assert write(JSON, "GET", path, 200, 0.001, "id", "::1", skip=skip) == b""
        assert json.loads(write(JSON, "GET", path, 503, 0.001, "id", "::1", skip=skip))
    assert json.loads(write(JSON, "POST", "/predict", 200, 0.001, "id", "::1", skip=skip))
    assert json.loads(write(JSON, "GET", "/metrics", 200, 0.001, "id", "::1"))


def test_an_id_that_was_replaced_is_shown_in_part(write: Callable[..., bytes]) -> None:
    replaced = 'a b\x1b"é' + "x" * 10_000
    access = ("GET", "/" + "a" * 10_000, 200, 0.0123, "1", "::1", replaced)
    shown = 'a b?"?' + "x" * 34

    line = write(JSON, *access)
    assert json.loads(line)["replaced_request_id"] == shown
    assert len(line) <= MAX_ACCESS_BYTES
    line = write(TEXT, *access)
    assert f" 1 in place of {shown!r} from ::1" in line.decode()
    assert len(line) <= MAX_ACCESS_BYTES


def test_a_request_is_one_json_object(write: Callable[..., bytes]) -> None:
    line = json.loads(write(JSON, "GET", "/a\x1b[2J", 200, 0.0123, "id-1", "127.0.0.1"))

    assert re.fullmatch(TIME, line.pop("time"))
    assert list(line.items()) == [
        ("level", "info"),
        ("logger", "server.access"),
        ("request_id", "id-1"),
        ("method", "GET"),
        ("path", "/a\x1b[2J"),
        ("status", 200),
        ("ms", 12.3),
        ("client", "127.0.0.1"),
    ]


def test_a_request_is_one_line_in_the_format_of_the_application_log(
    write: Callable[..., bytes],
) -> None:
    access = ("GET", "/a\x1b[2J\x85", 404, 0.0123, "id-1", "127.0.0.1")
    line = write(TEXT, *access).decode()

    assert re.fullmatch(
        rf"{TIME} INFO server\.access: GET /a\\x1b\[2J\\x85 404 12\.3 ms id-1 from 127\.0\.0\.1\n",
        line,
    )
    coloured = write(COLOURED, *access).decode()
    assert "\x1b[33m404\x1b[0m" in coloured
    assert uncoloured(coloured)[24:] == line[24:]


@pytest.mark.parametrize("line_format", [JSON, TEXT, COLOURED], ids=["json", "text", "coloured"])
@pytest.mark.parametrize("cell", ["x", "é", "\x01", "\x85", "\u2028", "\udcff", "😀", '"'])
def test_a_line_has_400_bytes_at_most(
    line_format: LineFormat, cell: str, write: Callable[..., bytes]
) -> None:
    """Clients choose method, path and request id; the longest address is of IPv6."""
    client = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"
    for length in (1, 100, 300, 16_384):
        line = write(line_format, "M" * length, f"/{cell * length}", 404, 9.9, "i" * 128, client)
        assert len(line) <= 400
        assert line.count(b"\n") == 1
        assert b"/" in line
        if line_format is JSON:
            assert json.loads(line)["request_id"] == "i" * 128


def test_a_path_is_shortened_no_more_than_necessary(write: Callable[..., bytes]) -> None:
    path = "/" + "x" * 1000
    line = write(JSON, "GET", path, 404, 0.0123, "i" * 32, "127.0.0.1")

    assert 360 < len(line) <= 400
    assert json.loads(line)["path"].endswith("x…")


# Lines do not mix.


def test_two_writers_of_one_pipe_do_not_mix_their_lines() -> None:
    """Their reader is so slow that lines are partly written."""
    reader, writer = os.pipe()
    lock = threading.Lock()
    one, two = (LineWriter(writer, name, lock=lock) for name in ("one", "two"))
    for _ in range(500):
        one.put(b"a" * 999 + b"\n")
        two.put(b"b" * 999 + b"\n")
    read = b""
    while len(read) < 1_000_000:
        read += os.read(reader, 1000)

    assert {bytes(set(line)) for line in read.splitlines()} == {b"a", b"b"}
    for each in (one, two):
        each.close(SOON)
    os.close(reader)
    os.close(writer)


# Unhandled exceptions.

PROGRAM = """
import sys, threading, warnings
from server.logs.format import json_format
from server.logs.application import configure, log_unhandled_exceptions, write_in_background

configure("info", json_format())
log_unhandled_exceptions(write_in_background())
thread = threading.Thread(target=lambda: {}["thread"], name="worker")
thread.start()
thread.join()
warnings.warn("careful")
raise ValueError("process")
"""


def test_an_unhandled_exception_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", PROGRAM],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    thread, warning, process = map(json.loads, done.stderr.splitlines())
    assert (thread["level"], thread["message"]) == (
        "critical",
        "unhandled exception in thread worker",
    )
    assert thread["traceback"].endswith("KeyError: 'thread'")
    assert "careful" in warning["message"]
    assert process["message"] == "unhandled exception, exiting"
    assert process["traceback"].endswith("ValueError: process")


def test_json_of_application_and_access_log_agree() -> None:
    """A program that reads one of the logs can read the other."""
    access = json.loads(json_format().access(NOW, Access("GET", "/", 200, 0.1, "id", "::1")))
    ours = json.loads(JSON.formatter.format(record("it", extra=of_request("id"))))

    assert list(access)[:3] == list(ours)[:3] == ["time", "level", "logger"]
    assert access["time"] == ours["time"]
    assert access["request_id"] == ours["request_id"]
