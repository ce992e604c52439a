"""How the service was started, for usage lines."""

import sys
from pathlib import Path
from typing import Final

INSTALLED: Final = "keras-batch-server"  # the command of the installed package


def program() -> str:
    """Return what to type to start the service: the installed command, or the module."""
    return INSTALLED if Path(sys.argv[0]).name == INSTALLED else "python -m server"
