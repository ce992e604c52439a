"""`python -m server key [NAME] [--allow GROUP,GROUP]`: make an API key."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from typing import Final

from server.config.program import program
from server.config.settings import GROUPS, KEY_NAME

KEY_BYTES: Final = 32  # impossible to guess, so one round of SHA-256 protects it

TEXT: Final = """\
{key}

This is the key. It is shown only now. Clients send it with every request, as
`Authorization: Bearer …` or `X-API-Key: …`. The server needs only its hash, in config.yaml:

auth:
  api_keys:
    - {entry}
"""


def main(argv: Sequence[str]) -> int:
    """Print a new key and its entry for the settings; return the exit code."""
    given = _parser().parse_args(argv)
    key = secrets.token_urlsafe(KEY_BYTES)
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry = {"name": given.name, "sha256": digest, "allow": given.allow}
    print(TEXT.format(key=key, entry=json.dumps(entry)), end="")  # JSON is YAML, always quoted
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{program()} key", description="Make an API key.", allow_abbrev=False
    )
    parser.add_argument("name", metavar="NAME", nargs="?", default="client", type=_name)
    parser.add_argument(
        "--allow",
        metavar="GROUP,GROUP",
        default=["predict"],
        type=_groups,
        help=f"what it may be used for: a list of {', '.join(GROUPS)} (default: predict)",
    )
    return parser


def _name(text: str) -> str:
    if not re.fullmatch(KEY_NAME, text):
        raise argparse.ArgumentTypeError(
            "a name has 1 to 64 of the characters A-Z, a-z, 0-9, '.', '_' and '-'"
        )
    return text


def _groups(text: str) -> list[str]:
    groups = text.split(",")
    if unknown := sorted(set(groups).difference(GROUPS)):
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(GROUPS)}")
    return groups
