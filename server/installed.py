"""The command `keras-batch-server` of the installed package.

There, `server` and `model` lie in the folder `keras_batch_server`; they import each other by their
own names, so that folder must be where Python looks for modules.
"""

import sys
from pathlib import Path


def main() -> int:
    """Do what `python -m server` does; return the exit code."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from server.__main__ import COMMANDS, handle_signals_early, main

    if sys.argv[1:2] not in ([each] for each in COMMANDS):
        handle_signals_early()
    return main()
