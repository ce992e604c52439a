"""Shared memory, seen through two mappings as in two processes."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from model.process import shared_memory
from model.process.shared_memory import PAGE, SharedMemory

pytestmark = pytest.mark.skipif(not shared_memory.is_available(), reason="needs memfd_create")


@pytest.fixture
def descriptor() -> Iterator[int]:
    """New memory; the other side has descriptors of its own."""
    descriptor = shared_memory.create("test")
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def mapped(descriptor: int) -> Iterator[Callable[..., SharedMemory]]:
    """Map the memory once more."""
    made: list[SharedMemory] = []

    def mapped(*, writable: bool) -> SharedMemory:
        made.append(SharedMemory(os.dup(descriptor), writable=writable))
        return made[-1]

    yield mapped
    for memory in made:
        memory.close()


def fill(memory: SharedMemory, nbytes: int, value: int) -> None:
    np.frombuffer(memory.reserve(nbytes), np.uint8)[:nbytes] = value


def test_both_sides_see_what_is_written(mapped: Callable[..., SharedMemory]) -> None:
    writer, reader = mapped(writable=True), mapped(writable=False)
    for value in (1, 2):  # the same pages the second time
        fill(writer, 100, value)
        assert bytes(reader.read(100)[:100]) == bytes([value]) * 100


def test_it_grows_by_whole_pages(mapped: Callable[..., SharedMemory], descriptor: int) -> None:
    writer, reader = mapped(writable=True), mapped(writable=False)
    for nbytes in (1, PAGE, PAGE + 1, 3 * PAGE + 5, 7):
        fill(writer, nbytes, nbytes % 251)
        assert os.fstat(descriptor).st_size % PAGE == 0
        assert set(bytes(reader.read(nbytes)[:nbytes])) == {nbytes % 251}
    assert os.fstat(descriptor).st_size == 4 * PAGE


def test_arrays_of_before_stay_when_it_grows(mapped: Callable[..., SharedMemory]) -> None:
    writer, reader = mapped(writable=True), mapped(writable=False)
    fill(writer, 10, 1)
    before = np.frombuffer(reader.read(10), np.uint8, 10)
    fill(writer, 5 * PAGE, 2)
    reader.read(5 * PAGE)

    assert before.tolist() == [2] * 10


def test_the_reader_cannot_write(mapped: Callable[..., SharedMemory]) -> None:
    writer, reader = mapped(writable=True), mapped(writable=False)
    fill(writer, 10, 1)
    view = reader.read(10)

    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 2
    assert not np.frombuffer(view, np.uint8).flags.writeable


def test_a_seal_forbids_to_make_it_smaller(
    mapped: Callable[..., SharedMemory], descriptor: int
) -> None:
    """Else a process that reads beyond the end would be ended by SIGBUS."""
    fill(mapped(writable=True), 2 * PAGE, 1)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, PAGE)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)


def test_the_other_side_can_seal_nothing_else(descriptor: int) -> None:
    """It could keep this side from growing it."""
    for seal in (0x0004, 0x0008, 0x0010):  # F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE
        with pytest.raises(PermissionError):
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seal)


def test_what_was_never_written_is_not_read(
    mapped: Callable[..., SharedMemory], descriptor: int
) -> None:
    """A file of a terabyte takes no room until somebody copies it."""
    reader = mapped(writable=False)
    assert len(reader.read(10)) == 0
    os.ftruncate(descriptor, 2**40)
    os.pwrite(descriptor, b"a" * 10, 0)

    assert len(reader.read(2**40)) == 0
    assert len(reader.read(10)) == PAGE
    assert len(reader.read(2**30)) == PAGE
    assert len(reader.read(2**50)) == PAGE


def test_nothing_of_it_is_in_a_folder(descriptor: int) -> None:
    assert os.fstat(descriptor).st_nlink == 0


def test_a_thread_that_comes_late_gets_no_other_file(
    mapped: Callable[..., SharedMemory], descriptor: int
) -> None:
    """The number of a descriptor that was closed is given to the next file."""
    memory = SharedMemory(os.dup(descriptor), writable=True)
    memory.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        memory.read(10)
    with pytest.raises(OSError, match="Bad file descriptor"):
        memory.reserve(10)


def test_it_is_not_left_to_programs_that_are_started(descriptor: int) -> None:
    assert not os.get_inheritable(descriptor)


def test_what_was_written_once_is_mapped_once(mapped: Callable[..., SharedMemory]) -> None:
    """Fresh pages cost more than all else."""
    writer, reader = mapped(writable=True), mapped(writable=False)
    fill(writer, 3 * PAGE, 1)
    kept = writer.reserve(3 * PAGE), reader.read(3 * PAGE)
    assert isinstance(kept[0].obj, mmap.mmap)
    for nbytes in (PAGE, 10, 3 * PAGE):
        assert writer.reserve(nbytes).obj is kept[0].obj
        assert reader.read(nbytes).obj is kept[1].obj
