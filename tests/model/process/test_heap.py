"""Freed memory that the C library keeps."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

BLOCKS = """
import resource, sys
from model.process.heap import keep_freed_blocks
if sys.argv[1] == "kept":
    assert keep_freed_blocks()
blocks = [bytes(600_000) for _ in range(8)]
del blocks
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    del [bytes(600_000) for _ in range(8)][:]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_blocks_of_the_size_of_an_image_are_used_again_without_page_faults() -> None:
    """Of 400 blocks with 146 pages each."""
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", BLOCKS, how]))
        for how in ("kept", "default")
    }

    assert faults["kept"] < 1000 < faults["default"]
