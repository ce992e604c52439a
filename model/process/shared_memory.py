"""Memory that the main process and a model process both map (memfd_create, Linux).

It has no name in the file system, so nothing of it is left when both have ended. It grows and is
never cut: cutting would end a process that reads it with SIGBUS, and a seal forbids it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final

PAGE: Final = 2**20  # it grows by whole pages of this size

_F_ADD_SEALS: Final = getattr(fcntl, "F_ADD_SEALS", 1033)
_F_SEAL_SEAL: Final = getattr(fcntl, "F_SEAL_SEAL", 0x0001)  # no further seals
_F_SEAL_SHRINK: Final = getattr(fcntl, "F_SEAL_SHRINK", 0x0002)
_BLOCK: Final = 512  # bytes, of st_blocks


def is_available() -> bool:
    """Return whether this system has it; elsewhere arrays go inline."""
    return hasattr(os, "memfd_create")


def create(name: str) -> int:
    """Return the descriptor of new, empty shared memory."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(descriptor, _F_ADD_SEALS, _F_SEAL_SHRINK | _F_SEAL_SEAL)
    return descriptor


class SharedMemory:
    """One process's mapping of shared memory; pages that were used once stay.

    Arrays that still point into an older mapping keep it alive.
    """

    def __init__(self, descriptor: int, *, writable: bool) -> None:
        """Take the descriptor over."""
        self._descriptor = descriptor
        self._writable = writable
        self._view = memoryview(b"")

    def reserve(self, nbytes: int) -> memoryview:
        """Return at least so many bytes, writable; the memory grows where it must."""
        if len(self._view) < nbytes:
            size = _whole_pages(nbytes)
            if os.fstat(self._descriptor).st_size < size:
                os.ftruncate(self._descriptor, size)
            self._map(size)
        return self._view

    def read(self, nbytes: int) -> memoryview:
        """Return what is there; fewer than `nbytes` where the other side has not written them.

        Memory that was only made longer is not mapped: it takes no room, but a copy of it would.
        """
        if len(self._view) < nbytes:
            status = os.fstat(self._descriptor)
            if nbytes <= min(status.st_size, status.st_blocks * _BLOCK):
                self._map(min(status.st_size, _whole_pages(nbytes)))
        return self._view

    def copy(self, start: int, nbytes: int) -> bytes:
        """Return a copy of some bytes; fewer where the other side has not written them.

        Other threads run meanwhile, which they do not while Python copies from the mapping.
        """
        return os.pread(self._descriptor, nbytes, start)

    def close(self) -> None:
        """Let go of the memory; a thread that still uses it gets OSError, not another file."""
        self._view = memoryview(b"")
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def _map(self, size: int) -> None:
        access = mmap.ACCESS_WRITE if self._writable else mmap.ACCESS_READ
        self._view = memoryview(mmap.mmap(self._descriptor, size, access=access))


def _whole_pages(nbytes: int) -> int:
    return -(-nbytes // PAGE) * PAGE
