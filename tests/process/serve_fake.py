"""The service with `fake_model` in its model processes: ready in half a second.

`python -m tests.process.serve_fake` takes what `python -m server` takes.
"""

from __future__ import annotations

import sys

COMMAND = (sys.executable, "-m", "tests.process.fake_model")

if __name__ == "__main__":
    from server.__main__ import handle_signals_early, serve

    handle_signals_early()
    sys.exit(serve(*COMMAND))
