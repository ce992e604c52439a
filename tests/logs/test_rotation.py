"""Log files that are rotated by the server or by another program."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from server.logs.line_writer import LineWriter
from server.logs.sinks import Rotation

SOON = 10.0


class Open(Protocol):
    """Opens a log file that is rotated."""

    def __call__(self, max_bytes: int, backups: int = 3) -> LineWriter: ...


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def open_file(path: Path) -> Iterator[Open]:
    writers = []

    def open_file(max_bytes: int, backups: int = 3) -> LineWriter:
        rotation = Rotation(max_bytes, backups)
        writers.append(LineWriter(str(path), "test", rotation=rotation))
        return writers[-1]

    yield open_file
    for writer in writers:
        writer.close(SOON)


def line(number: int) -> bytes:
    return b"line %04d\n" % number  # ten bytes


def put(writer: LineWriter, first: int, last: int) -> None:
    for number in range(first, last + 1):
        writer.put(line(number))


def numbers(file: Path) -> list[int]:
    """Return the numbers of the lines in a file; all lines must be complete."""
    read = file.read_bytes()
    found = [int(text.removeprefix(b"line ")) for text in read.splitlines()]
    assert read == b"".join(map(line, found))
    return found


def numbers_of_all(path: Path, backups: int) -> list[list[int]]:
    """Return the contents of the files, the newest first."""
    files = [path, *(path.with_name(f"log.{n}") for n in range(1, backups + 1))]
    assert sorted(path.parent.iterdir()) == sorted(files)
    return [numbers(file) for file in files]


def test_a_file_that_is_full_becomes_the_first_of_its_backups(open_file: Open, path: Path) -> None:
    writer = open_file(max_bytes=30)
    put(writer, 1, 8)
    writer.close(SOON)

    assert numbers_of_all(path, 2) == [[7, 8], [4, 5, 6], [1, 2, 3]]
    assert writer.dropped == 0


def test_a_line_that_fits_exactly_does_not_start_a_new_file(open_file: Open, path: Path) -> None:
    writer = open_file(max_bytes=30)
    put(writer, 1, 3)
    writer.close(SOON)

    assert numbers_of_all(path, 0) == [[1, 2, 3]]


def test_only_so_many_backups_are_kept(open_file: Open, path: Path) -> None:
    writer = open_file(max_bytes=20, backups=2)
    put(writer, 1, 1000)
    writer.close(SOON)

    assert numbers_of_all(path, 2) == [[999, 1000], [997, 998], [995, 996]]


def test_a_line_that_is_larger_than_a_file_has_one_of_its_own(open_file: Open, path: Path) -> None:
    writer = open_file(max_bytes=5)
    put(writer, 1, 3)
    writer.close(SOON)

    assert numbers_of_all(path, 2) == [[3], [2], [1]]


def test_bytes_of_an_earlier_process_count(open_file: Open, path: Path) -> None:
    path.write_bytes(line(1) + line(2))
    path.with_name("log.1").write_bytes(line(0))
    writer = open_file(max_bytes=25)
    put(writer, 3, 3)
    writer.close(SOON)

    assert numbers_of_all(path, 2) == [[3], [1, 2], [0]]


def test_as_many_lines_are_written_as_fit(open_file: Open, path: Path) -> None:
    path.write_bytes(line(1))
    writer = open_file(max_bytes=30)
    put(writer, 2, 4)
    writer.close(SOON)

    assert numbers_of_all(path, 1) == [[4], [1, 2, 3]]


def test_a_rotation_by_another_program_is_followed(open_file: Open, path: Path) -> None:
    """As logrotate does it: by renaming, and by copying and truncating."""
    writer = open_file(max_bytes=1000)
    path.rename(path.with_name("moved"))
    put(writer, 1, 1)
    until(lambda: path.exists() and numbers(path) == [1])
    os.truncate(path, 0)
    put(writer, 2, 151)
    writer.close(SOON)

    assert path.with_name("moved").read_bytes() == b""
    assert numbers(path.with_name("log.1")) == list(range(2, 102))
    assert numbers(path) == list(range(102, 152))


def test_without_a_limit_a_file_grows(open_file: Open, path: Path) -> None:
    writer = open_file(max_bytes=0)
    put(writer, 1, 2000)
    writer.close(SOON)

    assert numbers_of_all(path, 0) == [list(range(1, 2001))]


@pytest.mark.logs_warnings
def test_a_file_that_cannot_be_rotated_grows_with_one_warning(
    open_file: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.with_name("log.1").mkdir()
    path.with_name("log.1").joinpath("full").touch()  # no file can replace such a folder
    writer = open_file(max_bytes=20, backups=1)
    put(writer, 1, 50)
    writer.close(SOON)

    assert numbers(path) == list(range(1, 51))
    assert writer.dropped == 0
    [record] = caplog.records
    assert record.getMessage() == "the test log cannot be rotated and keeps growing: Is a directory"


def test_a_device_is_not_moved(caplog: pytest.LogCaptureFixture) -> None:
    writer = LineWriter("/dev/null", "test", rotation=Rotation(20, 1))
    put(writer, 1, 50)
    writer.close(SOON)

    assert writer.dropped == 0
    assert not caplog.records


def test_put_never_rotates(open_file: Open, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the writing thread waits for the disk."""
    moved_by = []
    replace = Path.replace

    def spied(self: Path, target: Path) -> Path:
        moved_by.append(threading.current_thread().name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", spied)
    writer = open_file(max_bytes=20)
    put(writer, 1, 10)
    writer.close(SOON)

    assert set(moved_by) == {"test-log"}


@pytest.mark.logs_warnings
def test_a_partly_written_line_is_completed_before_the_rotation(
    open_file: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full in the middle of line 2; later line 9 needs a new file."""
    torn = threading.Event()
    write, room = os.write, [14]

    def limited(fd: int, data: memoryview) -> int:
        if not torn.is_set() and len(data) > room[0]:
            if room[0] == 0:
                torn.set()
                raise OSError(28, "No space left on device")
            written = write(fd, data[: room[0]])
            room[0] = 0
            return written
        return write(fd, data)

    writer = open_file(max_bytes=25)
    monkeypatch.setattr("server.logs.sinks.os.write", limited)
    put(writer, 1, 3)
    assert torn.wait(SOON)
    put(writer, 9, 9)
    writer.close(SOON)

    assert numbers_of_all(path, 1) == [[9], [1, 2]]
    assert writer.dropped == 1


def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)
