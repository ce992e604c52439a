"""A model process that is none: the network is computed in a thread of the test's own process."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from model.engines.choose import Choice
from model.engines.interface import Engine
from model.process import convert
from model.process.main import reason
from model.process.prepare import LoadRequest, Report, prepare
from model.tensors import Rows, Tensors, View, merge, split
from server.serving.client import LoadRejected, ModelRaised, ProcessEnded, StartProcess
from server.serving.process_start import Ended

Load = Callable[[LoadRequest], Engine]
TryEngines = Callable[[Load, LoadRequest], Choice]


def write_choice(choice: Choice, request: LoadRequest) -> Choice:
    """Leave in the folder of a conversion what trying the engines leaves; return the choice."""
    assert request.conversion
    folder = Path(request.conversion.folder)
    if choice.engine == "onnx":
        (folder / "onnx").mkdir()
        (folder / "onnx" / "model.onnx").write_text("converted")
    convert.write(choice, folder)
    return choice


class FakeProcess:
    """Has the methods of `server.serving.model_process.ModelProcess`."""

    def __init__(
        self, name: str, load: Load, try_engines: TryEngines = convert.try_engines
    ) -> None:
        self.name = name
        self.step = "starting"
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._load = load
        self._thread = ThreadPoolExecutor(1)
        self._engine: Engine | None = None
        self._names: list[str] = []
        self._try_engines = try_engines

    async def load(self, request: LoadRequest, within: float = math.inf) -> Report:
        loop = asyncio.get_running_loop()
        try:
            self._engine, report = await loop.run_in_executor(
                self._thread, prepare, self._load, request
            )
        except Exception as error:
            raise LoadRejected(reason(error, request)) from error
        self._names = [spec.name for spec in report.signature.outputs]
        self.step = ""
        return report

    async def convert(self, request: LoadRequest, within: float = math.inf) -> Choice:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._try_engines, self._load, request)
        except Exception as error:
            raise LoadRejected(reason(error, request)) from error

    async def call(self, parts: Sequence[Rows]) -> list[View]:
        if self.ended.done():
            raise ProcessEnded(self.ended.result())
        assert self._engine is not None
        batch = merge(parts)
        arrays = [batch.arrays[spec.name] for spec in self._engine.signature.inputs]
        loop = asyncio.get_running_loop()
        calling = loop.run_in_executor(self._thread, self._called, arrays)
        await asyncio.wait([calling, self.ended], return_when=asyncio.FIRST_COMPLETED)
        if not calling.done():
            raise ProcessEnded(self.ended.result())
        answer = Tensors(dict(zip(self._names, calling.result(), strict=True)))
        return split(answer, [len(part) for part in parts])

    def kill(self, reason: str, text: str) -> None:
        if not self.ended.done():
            self.ended.set_result(Ended(reason, text))
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        self.kill("closed", "closed")

    def _called(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        assert self._engine is not None
        try:
            return self._engine.call(arrays)
        except Exception as error:
            raise ModelRaised(f"{type(error).__name__}: {error}") from error


def in_threads(load: Load, try_engines: TryEngines = convert.try_engines) -> StartProcess:
    """Return what starts such processes, each loading with `load`."""
    return lambda name: FakeProcess(name, load, try_engines)
