"""Build the container image with docker, podman or buildah, whichever works here; see `--help`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[1]
ENGINES: Final = ("docker", "podman", "buildah")
NAME: Final = "keras-batch-server"
TARGETS: Final = {"default": f"{NAME}:latest", "slim": f"{NAME}:slim"}
MISSING: Final = "docker or buildah is not installed: apt-get install buildah"


class NoEngine(Exception):
    """No program that builds images works here: one line that says why."""


def working_engine() -> str:
    """Return the first program that builds images and works; raises NoEngine.

    A client of Docker without its daemon does not work.
    """
    why = []
    for engine in filter(shutil.which, ENGINES):
        command = [engine, "info"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # of ENGINES
        if asked.returncode == 0:
            return engine
        said = (asked.stderr or asked.stdout).strip().splitlines() or ["it does not say why"]
        why.append(f"{engine} does not work: {said[-1]}")
    raise NoEngine("; ".join(why) or MISSING)


def build_command(engine: str, target: str, tag: str, options: Sequence[str] = ()) -> list[str]:
    """Return the command that builds a target of the Dockerfile; `options` are the engine's.

    podman and buildah write the OCI format otherwise, which has no health check, and buildah has no
    cache unless it is told to make a layer of each instruction.
    """
    form = [] if engine == "docker" else ["--format", "docker", "--layers"]
    wanted = [] if target == "default" else ["--target", target]
    return [engine, "build", *form, *wanted, "--tag", tag, *options, str(CHECKOUT)]


def main(argv: Sequence[str]) -> int:
    """Build one target and return the exit code: 2 where nothing can build it."""
    parser = argparse.ArgumentParser(
        prog="image.py",
        description="Build the container image with docker, podman or buildah, whichever works. "
        "Further options go to that program.",
    )
    parser.add_argument("--target", choices=TARGETS, default="default", help="which image")
    parser.add_argument("--tag", help=f"its name (default: {', '.join(TARGETS.values())})")
    known, options = parser.parse_known_args(argv)
    try:
        engine = working_engine()
    except NoEngine as error:
        print(f"no image can be built: {error}", file=sys.stderr)
        return 2
    tag = known.tag or TARGETS[known.target]
    command = build_command(engine, known.target, tag, options)
    print("+", *command, flush=True)
    return subprocess.run(command, check=False).returncode  # noqa: S603  # options of the user


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
