"""Compare this server with other model servers under the same load; see `--help`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.comparison.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
