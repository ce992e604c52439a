"""Real model processes with Keras' files in them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.process.prepare import LoadRequest, Report
from model.tensors import Tensors
from server.serving.client import LoadRejected
from server.serving.model_process import ModelProcess

pytestmark = [pytest.mark.keras, pytest.mark.process]

MIB = 2**20


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Save a network of one layer."""

    def save(make: Callable[[Any], Any], *shape: int) -> Path:
        import keras

        path = tmp_path / "m.keras"
        keras.Sequential([keras.Input(shape, name="x"), make(keras.layers)]).save(path)
        return path

    return save


@asynccontextmanager
async def loaded(path: Path, **request: Any) -> AsyncIterator[tuple[ModelProcess, Report]]:
    process = ModelProcess("m")
    try:
        yield process, await process.load(LoadRequest(str(path), **request), 60)
    finally:
        await process.close()


def megabytes(process: ModelProcess, key: str) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(rf"^{key}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) // 1024


@pytest.mark.torture
@pytest.mark.gen_test(timeout=90)
async def test_the_settings_of_a_user_for_keras_change_nothing(
    save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is shorter than `epsilon` would not be brought to the length 1."""
    path = save(lambda layers: layers.UnitNormalization(), 2)
    settings = {"floatx": "float64", "epsilon": 1.0, "backend": "jax"}
    settings["image_data_format"] = "channels_first"
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(settings))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / ".keras"))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    async with loaded(path, max_rows=2) as (process, report):
        [answer] = await process.call([Tensors({"x": np.array([[0.3, 0.4]], "float32")})])

    assert report.signature.inputs[0].dtype == "float32"
    [[first, second]] = next(iter(answer.arrays.values())).tolist()
    assert (first, second) == pytest.approx((0.6, 0.8), abs=1e-6)


@pytest.mark.gen_test(timeout=90)
@pytest.mark.torture
async def test_a_small_file_with_large_answers_takes_little_memory(
    save: Callable[..., Path],
) -> None:
    """1,024 rows would take a gibibyte for the answer alone, and much more in between."""
    path = save(lambda layers: layers.UpSampling2D(64), 8, 8, 1)
    assert path.stat().st_size < 20_000
    async with loaded(path) as (process, report):
        plain = megabytes(process, "VmRSS")
        assert max(point.rows for point in report.batch_size.curve) <= 64
        assert megabytes(process, "VmHWM") < 1000  # TensorFlow alone takes 450 to 600
        rows = Tensors({"x": np.ones((report.batch_size.rows, 8, 8, 1), "float32")})
        for _ in range(3):
            [answer] = await process.call([rows])
        assert answer.nbytes == report.batch_size.rows * MIB
        assert megabytes(process, "VmRSS") < plain + 4 * 64


@pytest.mark.gen_test(timeout=30)
async def test_a_file_that_is_none_is_told_before_tensorflow_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_text("no model")
    process = ModelProcess("m")
    with pytest.raises(LoadRejected, match=r"shown\.keras: is no zip archive"):
        await process.load(LoadRequest(str(path), shown_path="shown.keras"), 10)
    await process.close()
