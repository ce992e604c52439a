"""`python -m server hash PATH`: print what to write as `model.sha256`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from model.formats.digest import digest_of
from model.formats.files import ModelError, check_file
from server.config import ModelSource
from server.config.program import program
from server.serving.versions import files_of


def main(argv: Sequence[str]) -> int:
    """Print the SHA-256 and the path of each version, as `sha256sum` does; return the exit code."""
    given = _parser().parse_args(argv)
    try:
        for file in files_of(ModelSource(path=given.path), sys.maxsize, ""):
            check_file(file.path)
            print(f"{digest_of(file.path)}  {file.path}")
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{given.path}: cannot be read: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{program()} hash",
        description="Print the SHA-256 of a model, to be written as model.sha256.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a model file, a SavedModel folder, or a folder with models",
    )
    return parser
