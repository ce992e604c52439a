"""Fuzz one decoder, guided by coverage: `python scripts/fuzz.py TARGET --runs N`.

It starts from tests/fuzz/corpus/TARGET. Inputs that reach new code are added to the folder that
--keep names. Inputs that break a property are added to the corpus, where `make test` replays them.
Needs atheris (`requirements/fuzz.txt`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["PIL", "server", "model", "scripts.fuzz_targets"]):
    from PIL import (  # noqa: F401  # Pillow would import them later, without instruments
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        WebPImagePlugin,
    )

    from scripts.fuzz_json import mutate
    from scripts.fuzz_pictures import with_checksums
    from scripts.fuzz_targets import HAVE_JSON, MAX_BYTES, TARGETS

CORPUS = ROOT / "tests" / "fuzz" / "corpus"


def main() -> None:
    """Run `--runs` inputs, or until one of them breaks a property."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=10_000, help="how many inputs (default: 10000)")
    parser.add_argument("--seconds", type=int, default=0, help="end after this time; 0: no limit")
    parser.add_argument("--keep", help="folder for inputs that reach new code")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as unkept:
        fuzz(given, Path(given.keep or unkept))


def fuzz(given: argparse.Namespace, found: Path) -> None:
    """Start from the corpus, put inputs that reach new code into `found`; ends the process."""
    options = [
        f"-runs={given.runs}",
        f"-max_len={MAX_BYTES}",
        f"-max_total_time={given.seconds}",
        "-timeout=60",  # of the clock; targets look at their CPU time
        f"-artifact_prefix={CORPUS / given.target}/",
    ]
    folders = [str(found), str(CORPUS / given.target)]  # libFuzzer adds to the first one
    arguments = [sys.argv[0], *options, *folders]
    if given.target in HAVE_JSON:
        mutator = json_mutator(has_length=given.target == "v2_binary")
        atheris.Setup(arguments, TARGETS[given.target], custom_mutator=mutator)
    elif given.target == "picture":
        atheris.Setup(arguments, TARGETS[given.target], custom_mutator=change_picture)
    else:
        atheris.Setup(arguments, TARGETS[given.target])
    atheris.Fuzz()


def json_mutator(*, has_length: bool) -> Callable[[bytes, int, int], bytes]:
    """Return a mutator: half of the time it changes any bytes, else only the JSON."""

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(data, max_size))
        if not has_length:
            return mutate(data, seed)[:max_size]
        end = 2 + int.from_bytes(data[:2], "little")
        changed = mutate(data[2:end], seed)[:max_size]
        return (len(changed).to_bytes(2, "little") + changed + data[end:])[:max_size]

    return change


def change_picture(data: bytes, max_size: int, seed: int) -> bytes:
    """Change any bytes; half of the time the checksums of a PNG fit again."""
    changed = bytes(atheris.Mutate(data, max_size))
    return with_checksums(changed) if seed % 2 else changed


if __name__ == "__main__":
    main()
