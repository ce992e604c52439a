"""Measures how long calls of a model take on each engine, and keeps what was converted."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from model.engines.choose import TENSORFLOW
from model.engines.convert import not_installed
from model.process.batch_size import BatchSize
from model.process.prepare import Before, Conversion, LoadRequest, Report
from server.config import ModelSettings, ModelSource, Settings
from server.serving.client import LoadRejected, ProcessEnded
from server.serving.engine_cache import EngineCache
from server.serving.engines import is_onnx
from server.serving.loading import request_of
from server.serving.model_process import ModelProcess
from server.serving.versions import Origin, files_of

MOST_LOADED: Final = 2  # engines beside TensorFlow that are tested under load: the fastest


@dataclass(frozen=True)
class Measured:
    """How long calls of a model take on one engine.

    Attributes:
        engine: the engine, in the words of `model.engine`.
        batch_size: the measured durations; None if the engine does not compute the model.
        reason: why it does not, or "".
    """

    engine: str
    batch_size: BatchSize | None
    reason: str = ""

    def __str__(self) -> str:
        if self.batch_size is None:
            return f"{self.engine}: not used: {self.reason}"
        points = (f"{point.rows}: {1000 * point.seconds:.3g}" for point in self.batch_size.curve)
        return f"{self.engine}: {', '.join(points)}"


def speed_up(base: BatchSize, other: BatchSize) -> float:
    """Return how many times as fast calls are, on average over the numbers of rows of both."""
    seconds = {point.rows: point.seconds for point in base.curve}
    ratios = [seconds[each.rows] / each.seconds for each in other.curve if each.rows in seconds]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else 0.0


def fastest(measured: Sequence[Measured]) -> list[Measured]:
    """Return the engines that are worth a test under load; the first of `measured` is the base."""
    base, others = measured[0].batch_size, measured[1:]
    assert base is not None
    ratios = [(speed_up(base, m.batch_size), m) for m in others if m.batch_size is not None]
    faster = sorted(((r, m) for r, m in ratios if r > 1), key=lambda pair: pair[0], reverse=True)
    return [each for _, each in faster[:MOST_LOADED]]


class EngineMeasurements:
    """Measures one model on each engine, each time in a process of its own that ends.

    Attributes:
        cache: the folder in which servers find what was converted.
    """

    def __init__(
        self,
        path: str,
        model_process: Sequence[str],
        call_seconds: float,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        """Calls of up to `call_seconds` are measured. Raises ModelError."""
        self.cache = folder / "cache"
        self._path = path
        self._origin = Origin(files_of(ModelSource(path=path), 1, "")[0])
        self._name = Path(path).stem
        self._command = model_process
        self._request = LoadRequest(self._origin.file.path, max_batch_seconds=call_seconds)
        self._folder = folder
        self._say = say
        self._why_none = ""  # why no other engine can compute the model

    async def all(self, engines: Sequence[str]) -> list[Measured]:
        """Measure the model itself, and on those of other `engines` that answer alike.

        Raises ModelError, LoadRejected, ProcessEnded.
        """
        report = await self._loaded(self._request)
        found = [Measured(report.engine, report.batch_size)]
        self._print(found[0])
        for engine in () if is_onnx(self._origin) else engines:
            try:
                found.append(await self._other(engine, report))
            except (LoadRejected, ProcessEnded) as error:
                found.append(Measured(engine, None, str(error)))
            self._print(found[-1])
        return found

    def keep(self, model: Mapping[str, Any]) -> None:
        """Put what was converted where a server with these settings of `model` looks for it."""
        engine = model.get("engine", TENSORFLOW)
        if engine == TENSORFLOW:
            return
        settings = Settings(model=ModelSettings(path=self._path, **model))
        request = request_of(self._origin, settings, None, beside_others=False)
        cache = EngineCache(str(self.cache))
        path = self._origin.path
        if cache.find(path, request, engine) is None:
            entry = cache.new_entry()
            shutil.copytree(self._folder / engine, entry, dirs_exist_ok=True)
            cache.keep(entry, path, request, engine)

    async def _other(self, engine: str, base: Report) -> Measured:
        """Raises LoadRejected, ProcessEnded."""
        if why := not_installed(engine):
            return Measured(engine, None, why)
        if base.is_eager:
            self._why_none = "Keras calls the model layer by layer"
        if self._why_none:
            return Measured(engine, None, self._why_none)
        self._say(f"converting it for {engine}, and comparing the answers")
        folder = self._folder / engine
        process = ModelProcess(self._name, command=self._command)
        try:
            choice = await process.convert(
                replace(
                    self._request,
                    max_rows=base.batch_size.rows,
                    before=Before(base.signature, base.batch_size, base.golden),
                    conversion=Conversion((engine,), str(folder), engine),
                )
            )
        finally:
            await process.close()
        if choice.engine != engine:
            if not choice.timings:  # not even tried, which is the same for every engine
                self._why_none = choice.reasons[engine]
            return Measured(engine, None, choice.reasons[engine])
        made = folder / engine
        converted = str(made) if made.is_dir() else ""
        report = await self._loaded(replace(self._request, engine=engine, converted=converted))
        if report.engine != engine:
            return Measured(engine, None, "what was converted cannot be loaded")
        return Measured(engine, report.batch_size)

    async def _loaded(self, request: LoadRequest) -> Report:
        process = ModelProcess(self._name, command=self._command)
        try:
            return await process.load(request)
        finally:
            await process.close()

    def _print(self, measured: Measured) -> None:
        if measured.batch_size is None:
            self._say(str(measured))
            return
        self._say(f"{measured.engine}:")
        for point in measured.batch_size.curve:
            speed = f"{point.rows_per_second:>12,.0f} rows/s"
            self._say(f"{point.rows:>7,} rows{point.seconds * 1000:>10,.2f} ms{speed}")
