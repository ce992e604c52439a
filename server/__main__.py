"""`python -m server [MODEL]`: serve a model; `python -m server key`: make an API key."""

import sys

from server import new_key, run

if __name__ == "__main__":
    is_key = sys.argv[1:2] == ["key"]
    sys.exit(new_key.main(sys.argv[2:]) if is_key else run.main())
