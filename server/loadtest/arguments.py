"""Types of numbers on the command line, for argparse's `type`."""

from __future__ import annotations

import argparse
import contextlib
import math


def count(text: str) -> int:
    """Return a whole number above 0; raises ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("not a whole number above 0")
    return int(text)


def positive(text: str) -> float:
    """Return a finite number above 0; raises ArgumentTypeError for anything else."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError("not a number above 0")
