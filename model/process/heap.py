"""How much freed memory the C library keeps for the next request of a similar size.

glibc gives a block of a few hundred kilobytes, such as the tensor of an image, back to the kernel
when it is freed, and gets it again, page by page, for the next request: that takes several times
as long as to copy it. See mallopt(3).
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT: Final = 16 * 2**20  # bytes at the end of the heap that are kept
_LARGE: Final = 4 * 2**20  # blocks of so many bytes and more are given back at once


def keep_freed_blocks() -> bool:
    """Keep freed blocks of up to 4 MiB, 16 MiB in all; return whether the C library can."""
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # only glibc has it
        return False
    return bool(set_option(_M_MMAP_THRESHOLD, _LARGE) and set_option(_M_TRIM_THRESHOLD, _KEPT))
