"""Which engine computes a version: it is served with TensorFlow until a better one is known."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from model.engines.choose import TENSORFLOW, Choice
from model.formats.files import ending_of
from model.process.memory import Memory
from model.process.prepare import Conversion, LoadRequest
from server.config import Settings
from server.serving.client import LoadRejected, ProcessEnded, StartProcess
from server.serving.engine_cache import EngineCache, Found, size_of
from server.serving.served_model import ServedModel
from server.serving.versions import Origin

log = logging.getLogger(__name__)

AUTO: Final = "auto"
CANDIDATES: Final = ("frozen", "onnx", "openvino")
PROCESS_BYTES: Final = 600 * 2**20  # of a process that tries engines, without weights
COPIES: Final = 6  # of the weights, in all engines and while they are converted

Move = Callable[[ServedModel], Coroutine[Any, Any, None]]


class Engines:
    """Tries engines, one model at a time, each in a process that ends afterwards."""

    def __init__(self, settings: Settings, memory: Memory | None = None) -> None:
        self._settings = settings
        self._cache = EngineCache(settings.model.cache_dir)
        self._memory = memory or Memory()
        self._one_at_a_time = asyncio.Lock()

    async def known(self, origin: Origin, request: LoadRequest) -> Found | None:
        """Return what was chosen for a version before; None if that is not known."""
        wanted = origin.file.source.engine
        if wanted == TENSORFLOW or is_onnx(origin) or request.options.keep_state:
            return None
        try:
            return await asyncio.to_thread(self._cache.find, origin.path, request, wanted)
        except OSError:  # loading it says what is wrong
            return None

    async def close(self) -> None:
        """Remove what no other run can use."""
        await asyncio.to_thread(self._cache.close)

    async def improve(
        self, model: ServedModel, request: LoadRequest, start: StartProcess, move: Move
    ) -> None:
        """Try engines with a version that is served with TensorFlow, and `move` to the best."""
        async with self._one_at_a_time:
            if why := await asyncio.to_thread(self._why_not, model):
                log.info("%s: stays with TensorFlow: %s", model.name, why)
                model.engines.note = why
                return
            try:
                choice = await self._tried(model, request, start)
            except (LoadRejected, ProcessEnded, OSError) as error:
                log.warning("%s: stays with TensorFlow: %s", model.name, error)
                model.engines.note = str(error)
                return
        model.engines.choice = choice
        told(model.name, choice, model.origin.file.source.engine)
        if choice.engine != TENSORFLOW:
            await move(model)

    def _why_not(self, model: ServedModel) -> str:
        """Return why no engine is tried; "" if some are."""
        if model.origin.file.source.keep_state:
            return "the model keeps state"
        if model.loaded.report.is_eager:
            return "Keras calls the model layer by layer"
        try:
            needed = PROCESS_BYTES + COPIES * size_of(Path(model.origin.path))
        except OSError as error:
            return f"its file cannot be read: {error}"
        available = self._memory.available()
        if needed > available:
            return (
                f"trying other engines may take {needed >> 20:,} MiB of memory, "
                f"and {available >> 20:,} MiB are left"
            )
        return ""

    async def _tried(self, model: ServedModel, request: LoadRequest, start: StartProcess) -> Choice:
        wanted = model.origin.file.source.engine
        folder = await asyncio.to_thread(self._cache.new_entry)
        try:
            conversion = Conversion(
                CANDIDATES if wanted == AUTO else (wanted,),
                str(folder),
                "" if wanted == AUTO else wanted,
            )
            request = replace(
                request,
                path=model.origin.path,
                max_rows=model.batch_size.rows,
                before=model.loaded.before,
                conversion=conversion,
            )
            choice = await self._choice(model.name, request, start)
            path = model.origin.path
            await asyncio.to_thread(self._cache.keep, folder, path, request, wanted)
            return choice
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _choice(self, name: str, request: LoadRequest, start: StartProcess) -> Choice:
        process = start(name)
        try:
            return await process.convert(request, self._settings.model.load_timeout_s)
        except BaseException:
            process.kill("closed", "engines are no longer tried")
            raise
        finally:
            await process.close()


def is_onnx(origin: Origin) -> bool:
    """Return whether ONNX Runtime computes a version anyway."""
    return ending_of(origin.file.path) == ".onnx"


def told(name: str, choice: Choice, wanted: str) -> None:
    """Log what was chosen, and why other engines were not."""
    log.info("%s: engine: %s", name, choice)
    for engine, reason in choice.reasons.items():
        level = logging.WARNING if engine == wanted else logging.INFO
        log.log(level, "%s: the engine %s is not taken: %s", name, engine, reason)
