"""`python -m server [MODEL]` serves a model; `… key` makes an API key, `… tune` finds settings."""

import sys

from server import run
from server.config import new_key


def main() -> int:
    """Do what the first word says; return the exit code."""
    match sys.argv[1:]:
        case ["key", *rest]:
            return new_key.main(rest)
        case ["tune", *rest]:
            from server.tune import command  # a client, which nothing that serves loads

            return command.main(rest)
    return run.main()


if __name__ == "__main__":
    sys.exit(main())
