"""Run a command with a PATH that holds only what a fresh machine has; see `--help`."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

LIST = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"


def programs_of_a_fresh_machine() -> list[str]:
    """Return the programs in the table of CONTRIBUTING.md."""
    section = LIST.read_text().partition("## What a fresh machine has\n")[2].partition("\n## ")[0]
    return [
        program
        for row in re.findall(r"^\| .* \| (.*) \|$", section, re.MULTILINE)
        for program in re.findall(r"`(.+?)`", row)
    ]


def fill(folder: Path) -> list[str]:
    """Put the programs into the folder; return those that this machine does not have.

    `python3` is a script that becomes the Python that runs this, outside any virtual environment:
    a link would be what a new virtual environment refers to, and the folder is soon gone.
    """
    missing = []
    for program in programs_of_a_fresh_machine():
        if program == "python3":
            name = f"python{sys.version_info.major}.{sys.version_info.minor}"
            script = folder / program
            script.write_text(f'#!/bin/sh\nexec "{Path(sys.base_prefix, "bin", name)}" "$@"\n')
            script.chmod(0o755)
        elif found := shutil.which(program):
            (folder / program).symlink_to(found)
        else:
            missing.append(program)
    return missing


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code, or 2 when it is not in the list."""
    parser = argparse.ArgumentParser(
        prog="short_path.py",
        description="Run a command with a PATH that holds only the programs that CONTRIBUTING.md "
        "lists under 'What a fresh machine has', as in: short_path.py make setup check test",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    command = parser.parse_args(argv).command
    if not command:
        parser.error("name a command")
    with tempfile.TemporaryDirectory(prefix="short-path-") as folder:
        if missing := fill(Path(folder)):
            print(f"short_path: not here either: {', '.join(missing)}", file=sys.stderr)
        if not (program := shutil.which(command[0], path=folder)):
            print(f"short_path: {command[0]} is not in the list", file=sys.stderr)
            return 2
        environment = {**os.environ, "PATH": folder}
        return subprocess.run([program, *command[1:]], env=environment, check=False).returncode  # noqa: S603  # what the user asks for


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
