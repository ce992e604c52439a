"""`python -m server tune` with y = 3x + 1 as the model, in its own process and in its servers."""

from __future__ import annotations

import sys

from server.tune.command import main
from tests.process.harness import FAKE
from tests.process.serve_fake import COMMAND

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], COMMAND, FAKE))
