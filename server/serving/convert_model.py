"""`python -m server convert MODEL --out FOLDER`: write what is served without TensorFlow."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

from model.engines.choose import TENSORFLOW, Choice
from model.formats.files import ModelError, ending_of
from model.formats.options import LoadOptions
from model.process.prepare import Before, Conversion, LoadRequest, Report
from server.config import ConfigError, ModelSource, Settings, load_settings
from server.config.program import program
from server.serving.client import LoadRejected, ProcessEnded, StartProcess
from server.serving.loading import request_of
from server.serving.model_process import ModelProcess
from server.serving.versions import Origin, files_of

ENGINES: Final = ("onnx",)
EXIT_NOT_CONVERTED: Final = 1
EXIT_CANNOT_START: Final = 2
WORKING: Final = ".convert-"  # begins the name of the folder that is written into


class NotConverted(Exception):
    """Why a model is not converted, in one line."""


def main(argv: Sequence[str], start: StartProcess = ModelProcess) -> int:
    """Convert a model; return 0, 1 if it stays on TensorFlow, 2 if nothing could be tried."""
    options, rest = _parser().parse_known_args(argv)
    signal.signal(signal.SIGTERM, _end)
    try:
        settings = load_settings(rest, os.environ, Path.cwd())
        if len(settings.sources) > 1:
            raise ConfigError("the settings list several models; give the path of one")
        _check_is_new(options.out)
        choice = asyncio.run(_converted(settings, options.engine, options.out, start))
    except (LoadRejected, ModelError, NotConverted, ProcessEnded) as error:
        return _failed(error, EXIT_NOT_CONVERTED)
    except ConfigError as error:
        return _failed(error, EXIT_CANNOT_START)
    except OSError as error:
        reason = f"{error.filename or options.out}: {error.strerror or error}"
        return _failed(reason, EXIT_CANNOT_START)
    except KeyboardInterrupt:
        return 130
    _print_result(choice, options.out)
    return 0


def _failed(why: object, code: int) -> int:
    print(f"convert: {why}", file=sys.stderr)
    return code


def _end(number: int, _: object) -> NoReturn:
    """Exit by SystemExit, so that processes are ended and folders removed."""
    sys.exit(128 + number)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.exit(_failed(message, EXIT_CANNOT_START))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"{program()} convert",
        usage=f"{program()} convert MODEL --out FOLDER [--engine onnx] [--section.key VALUE ...]",
        description="Convert a model for another engine, compare both, and write what that engine "
        "serves without TensorFlow.",
        epilog="The settings of the model, such as --model.signature, are those of the server. "
        "Exit code 1: the model cannot be converted, or answers otherwise. 2: wrong arguments, or "
        "a folder that cannot be written.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--engine", choices=ENGINES, default=ENGINES[0], help="engine (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder to write; it must be new"
    )
    return parser


def _check_is_new(out: Path) -> None:
    """Raise ConfigError for a folder with something in it; OSError if it cannot be read."""
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"--out: {out} is not empty; name a new folder")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out: {out} is a file; name a new folder")


async def _converted(settings: Settings, engine: str, out: Path, start: StartProcess) -> Choice:
    """Write the converted model into a folder, which is whole or missing.

    Raises ConfigError, NotConverted, LoadRejected, ModelError, ProcessEnded and OSError.
    """
    with _folder_beside(out) as folder:
        made = Path(folder) / engine
        choice = await Conversions(settings, start).write(settings.sources[0], engine, made)
        made.rename(out)
    return choice


def _folder_beside(out: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a folder that can be renamed to `out`; raises ConfigError."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=WORKING, dir=out.parent)
    except OSError as error:
        raise ConfigError(f"--out: {out} cannot be written: {error.strerror}") from error


class Conversions:
    """Converts one model after another, each in processes of its own."""

    def __init__(self, settings: Settings, start: StartProcess) -> None:
        self._settings = settings
        self._start = start

    async def write(self, source: ModelSource, engine: str, made: Path) -> Choice:
        """Convert a model into the new folder `made`; return what was timed.

        Raises NotConverted, LoadRejected, ModelError, ProcessEnded and OSError.
        """
        origin = Origin(files_of(source, 1, "")[0])
        shown = origin.file.path
        if ending_of(shown) == ".onnx":
            raise NotConverted(f"{shown}: is served without TensorFlow as it is")
        request = request_of(origin, self._settings, None, beside_others=False)
        name = source.served_name
        _say(f"loading {shown} with TensorFlow")
        report = await self._loaded(name, request)
        if report.is_eager:
            raise NotConverted(f"{shown}: stays on TensorFlow: Keras calls it layer by layer")
        _say(f"converting it for {engine}, and comparing the answers")
        before = Before(report.signature, report.batch_size, report.golden)
        request = replace(request, max_rows=report.batch_size.rows, before=before)
        choice = await self._choice(name, request, engine, made.parent)
        if choice.engine != engine:
            raise NotConverted(f"{shown}: stays on TensorFlow: {choice.reasons[engine]}")
        _say("loading the result without TensorFlow")
        [file] = files_of(ModelSource(path=str(made)), 1, "")
        options = LoadOptions(threads=request.options.threads)  # the others are of the file before
        request = replace(request, path=file.path, shown_path=file.path, options=options)
        await self._loaded(name, request)
        return choice

    async def _choice(self, name: str, request: LoadRequest, engine: str, folder: Path) -> Choice:
        conversion = Conversion((engine,), str(folder), engine)
        process = self._start(name)
        try:
            return await process.convert(
                replace(request, conversion=conversion), self._settings.model.load_timeout_s
            )
        finally:
            await process.close()

    async def _loaded(self, name: str, request: LoadRequest) -> Report:
        """Load a model as the server does, in a process that ends."""
        process = self._start(name)
        try:
            return await process.load(request, self._settings.model.load_timeout_s)
        finally:
            await process.close()


def _print_result(choice: Choice, out: Path) -> None:
    """Print how long calls take, and what was written."""
    before, after = choice.timings[TENSORFLOW].seconds, choice.timings[choice.engine].seconds
    for rows, seconds in after.items():
        both = f"{1000 * seconds:.3g} ms with {choice.engine}, {1000 * before[rows]:.3g} ms"
        print(f"a call of {rows} row{'s' * (rows > 1)}: {both} with TensorFlow")
    for path in sorted(out.iterdir()):
        print(f"written: {path} ({path.stat().st_size:,} bytes)")
    print(f"to serve it: {program()} {shlex.quote(str(out))}")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
