"""`python -m server [MODEL]` serves a model; the commands are in COMMANDS.

`… key` makes an API key, `… hash PATH` prints what to write as `model.sha256`, `… convert` writes a
model that is served without TensorFlow, and `… tune` finds settings.
"""

import os
import signal
import sys

COMMANDS = ("convert", "hash", "key", "tune")


def handle_signals_early() -> None:
    """End at once on SIGTERM and SIGINT until the server handles them, and ignore SIGHUP.

    A container's first process would ignore SIGTERM without a handler, and SIGHUP would end any
    other; importing the rest takes a third of a second.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def main() -> int:
    """Do what the first word says; return the exit code."""
    match sys.argv[1:]:
        case ["convert", *rest]:
            from server.serving import convert_model

            return convert_model.main(rest)
        case ["hash", *rest]:
            from server.serving import print_hash

            return print_hash.main(rest)
        case ["key", *rest]:
            from server.config import new_key

            return new_key.main(rest)
        case ["tune", *rest]:
            from server.tune import command  # a client, which nothing that serves loads

            return command.main(rest)
    return serve()


def serve(*command: str) -> int:
    """Serve a model; `command` starts a model process. Returns the exit code."""
    from pathlib import Path

    from server import listening

    try:
        found = listening.listen(sys.argv[1:], os.environ, Path.cwd())
    except listening.CannotStart as error:
        print(error, file=sys.stderr)
        return listening.EXIT_CANNOT_START
    from server import run  # only now: it takes a third of a second, and clients can connect

    return run.main(found, *([command] if command else []))


if __name__ == "__main__":
    if sys.argv[1:2] not in ([each] for each in COMMANDS):
        handle_signals_early()
    sys.exit(main())
