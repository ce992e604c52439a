"""Run a command with only the programs of a fresh machine on the PATH; see `--help`."""

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
    """Link the programs into `folder`; return those that this machine does not have.

    `python3` is a script that runs the base interpreter of the current Python. A symbolic link
    would not do: a new virtual environment would refer to it after the folder is removed.
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
    """Run the command and return its exit code, or 2 if the command is not in the list."""
    parser = argparse.ArgumentParser(
        prog="short_path.py",
        description="Run a command with a PATH that has only the programs of a fresh machine. They "
        "are listed in CONTRIBUTING.md. Example: short_path.py make setup check test",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    command = parser.parse_args(argv).command
    if not command:
        parser.error("the following arguments are required: command")
    with tempfile.TemporaryDirectory(prefix="short-path-") as folder:
        if missing := fill(Path(folder)):
            print(f"short_path: not on this machine: {', '.join(missing)}", file=sys.stderr)
        if not (program := shutil.which(command[0], path=folder)):
            print(f"short_path: {command[0]} is not listed in CONTRIBUTING.md", file=sys.stderr)
            return 2
        environment = {**os.environ, "PATH": folder}
        return subprocess.run([program, *command[1:]], env=environment, check=False).returncode  # noqa: S603  # the user's own command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
