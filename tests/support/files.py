"""Models out of files that are a number each, for tests that put one in the place of another."""

from __future__ import annotations

import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.formats.files import ModelError
from model.process.prepare import LoadRequest
from model.signature import Signature, TensorSpec
from server.config import ModelSource, Settings
from tests.support.fake_process import in_threads
from tests.support.harness import NUMBER, SOON, FakeModel, Server, listening, with_settings

WIDE = Signature((TensorSpec("x", (2,), "float32"),), (TensorSpec("y", (1,), "float32"),))


def put(file: Path, text: str) -> None:
    """Put another file in the place of one, by renaming."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    new.replace(file)


class Files:
    """Loads models whose file is a text: what a row is multiplied by.

    Attributes:
        models: all that were loaded and are still there.
        loading: is set when a load has begun.
    """

    def __init__(self) -> None:
        self.models: weakref.WeakSet[FakeModel] = weakref.WeakSet()
        self.loading = threading.Event()
        self._gate = threading.Event()
        self._gate.set()

    def hold(self) -> None:
        """Let loads from now on take until they are released."""
        self.loading.clear()
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    def __call__(self, file: LoadRequest) -> FakeModel:
        self.loading.set()
        assert self._gate.wait(SOON)
        text = Path(file.path).read_text()
        if text == "broken":
            raise ModelError(file.path, "is broken")
        model = FakeModel(WIDE if text == "wide" else NUMBER)
        factor = np.float32("nan" if text == "nan" else 1 if text == "wide" else text)
        model.spoil = lambda y: (y - 1) / 3 * factor
        self.models.add(model)
        return model


@asynccontextmanager
async def serving_files(
    *sources: Path | ModelSource, settings: Settings | None = None, logs: Any = ()
) -> AsyncIterator[tuple[Server, Files]]:
    """Serve models out of files; the first is the default one."""
    given = [s if isinstance(s, ModelSource) else ModelSource(path=str(s)) for s in sources]
    settings = replace(settings or with_settings(), models=tuple(given))
    files = Files()
    async with listening(settings, expected_logs=logs) as server:
        await server.service.start(in_threads(files))
        yield server, files
        files.release()


async def answer(server: Server) -> tuple[str, float]:
    """Return the version that answers, and what it makes of 1."""
    response = await server.predict([1])
    assert response.status == 200, response.body
    return response["X-Model-Version"], response.json["prediction"]
