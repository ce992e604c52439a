"""An uncompressed entry of a zip archive as a file of its own.

`zipfile` would read all of it again for each step back, and HDF5 makes many.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any, Final

HEADER: Final = struct.Struct("<26xHH")  # it ends with the lengths of the name and of extra fields


class StoredEntry(io.RawIOBase):
    """Reads the bytes of an entry in place."""

    def __init__(self, path: Path | str, info: zipfile.ZipInfo) -> None:
        """Open the archive; raises OSError, and struct.error where the header is cut off."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        header = os.pread(self._descriptor, HEADER.size, info.header_offset)
        self._start = info.header_offset + HEADER.size + sum(HEADER.unpack(header))
        self._size = info.file_size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        left = max(0, self._size - self._position)
        view = memoryview(buffer).cast("B")[:left]
        count = os.preadv(self._descriptor, [view], self._start + self._position)
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed and hasattr(self, "_descriptor"):
            os.close(self._descriptor)
        super().close()
