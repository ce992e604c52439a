"""`python -m server [MODEL]`: serve a model."""

import sys

from server.run import main

if __name__ == "__main__":
    sys.exit(main())
