"""Reads the Dockerfile, and carries out its instructions in a folder instead of an image."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

CHECKOUT = Path(__file__).parents[2]
MADE = {".git", ".venv", ".peers", ".clients", ".deploy"}  # large, and never in an image
EXAMPLE = CHECKOUT / "model" / "my_best_model.keras"


@dataclass
class Stage:
    """One stage of the Dockerfile, with its instructions in order, those of its base first."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [rest for name, rest in self.instructions if name == word]

    def last(self, word: str) -> str:
        return self.all(word)[-1]


def read_dockerfile() -> list[Stage]:
    text = (CHECKOUT / "Dockerfile").read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            [origin] = [stage for stage in stages if stage.name == base] or [Stage(base, base)]
            stages.append(Stage(origin.base, name or "final", [*origin.instructions]))
        else:
            stages[-1].instructions.append((word, rest.strip()))
    return stages


def copied_from_the_checkout() -> list[str]:
    copies = [shlex.split(rest) for stage in STAGES for rest in stage.all("COPY")]
    return [source for words in copies if not words[0].startswith("--") for source in words[:-1]]


def is_sent(path: str) -> bool:
    """Return whether a file is in the build context; the last pattern of .dockerignore decides."""
    file = PurePosixPath(path)
    names = [str(part) for part in (file, *file.parents)]
    sent = True
    for pattern, sends in ignore_patterns():
        if any(pattern.fullmatch(name) for name in names):
            sent = sends
    return sent


@cache
def ignore_patterns() -> list[tuple[re.Pattern[str], bool]]:
    """Read .dockerignore: its patterns, and whether files that match one are sent."""
    lines = map(str.strip, (CHECKOUT / ".dockerignore").read_text().splitlines())
    return [
        (glob(line.removeprefix("!").strip("/")), line.startswith("!"))
        for line in lines
        if line and not line.startswith("#")
    ]


def glob(pattern: str) -> re.Pattern[str]:
    meaning = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(meaning.get(part) or re.escape(part) for part in parts))


def files_of_the_checkout() -> Iterator[str]:
    for folder, names, files in os.walk(CHECKOUT):
        names[:] = [name for name in names if name not in MADE]
        for name in files:
            yield (Path(folder, name).relative_to(CHECKOUT)).as_posix()


STAGES = read_dockerfile()
FINAL = STAGES[-1]
SENT = sorted(filter(is_sent, files_of_the_checkout()))


class Image:
    """A folder that stands for the root of an image."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = PurePosixPath("/")
        self.environment = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}

    def at(self, path: str | PurePosixPath) -> Path:
        return self.root / (self.folder / path).relative_to("/")

    def moved(self, text: str) -> str:
        """Return `text` with the absolute paths of the image moved below this folder."""
        return re.sub(r"(?<![\w./-])/(app|venv)\b", rf"{self.root}/\1", text)

    def copy(self, rest: str, images: dict[str, Image]) -> None:
        *sources, target = shlex.split(rest)
        if sources[0].startswith("--from="):
            origin = images[sources.pop(0).removeprefix("--from=")]
            for source in sources:
                self.take(origin.at(source), target)
            return
        for source in sources:
            for name in matching(source):
                inner = PurePosixPath(name).relative_to(source) if name != source else None
                into = target.endswith("/") or len(sources) > 1
                end = inner or (PurePosixPath(name).name if into else "")
                place = self.at(PurePosixPath(target) / end)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(CHECKOUT / name, place)

    def take(self, source: Path, target: str) -> None:
        """Copy what another stage has; a venv is linked, since it may have 2 GB."""
        place = self.at(target)
        if (source / "pyvenv.cfg").exists():
            self.link(source, target)
        elif source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, place / source.name if target.endswith("/") else place)

    def link(self, source: Path, target: str) -> None:
        assert source.exists(), f"{source} does not exist"
        place = self.at(target)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source)

    def set(self, rest: str) -> None:
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            value = value.replace("$PATH", self.environment["PATH"])
            self.environment[name] = self.moved(value)

    def start(self, command: list[str], **options: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.moved(word) for word in command],
            cwd=self.at(""),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            text=True,
            **options,
        )


def matching(source: str) -> list[str]:
    return [name for name in SENT if name == source or PurePosixPath(source) in parents(name)]


def parents(name: str) -> tuple[PurePosixPath, ...]:
    return tuple(PurePosixPath(name).parents)


def build(root: Path, run: Callable[[Image, str], None]) -> Image:
    """Carry out the Dockerfile and return its last image; `run` carries out RUN instructions."""
    images: dict[str, Image] = {}
    for stage in STAGES:
        image = images[stage.name] = Image(root / stage.name)
        for word, rest in stage.instructions:
            match word:
                case "WORKDIR":
                    image.folder = PurePosixPath(rest)
                    image.at("").mkdir(parents=True, exist_ok=True)
                case "COPY":
                    image.copy(rest, images)
                case "ENV":
                    image.set(rest)
                case "RUN":
                    run(image, rest)
    return image


def stand_in(image: Image, command: str) -> None:
    """Use the current environment and the model in the checkout instead of building them."""
    if "-m venv" in command:
        image.link(Path(sys.prefix), re.search(r"-m venv (\S+)", command)[1])
    elif "-m model.train" in command:
        assert EXAMPLE.exists(), "`make setup` trains the example model"
        shutil.copyfile(EXAMPLE, image.at(re.search(r"--out (\S+)", command)[1]))
    elif "-m compileall" in command or "apt-get" in command:
        pass  # what makes the start faster, and tools to build with
    else:
        pytest.fail(f"unknown instruction, extend stand_in: RUN {command}")
