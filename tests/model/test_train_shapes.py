"""The example of `make serve-images`: pictures that are drawn, a model, its labels and settings."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from server.config import Settings, load_settings
from tests.process.harness import REAL, Server

CHECKOUT = Path(__file__).parents[2]
SETTINGS = "model/shapes.yaml"

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def shapes() -> Any:
    """The module, imported when a test runs instead of when it is collected."""
    from model import train_shapes

    return train_shapes


def settings() -> Settings:
    return load_settings(["--config", SETTINGS], {}, CHECKOUT)


def test_each_label_has_pictures_of_its_color(shapes: Any) -> None:
    import numpy as np

    random = np.random.default_rng(1)
    for label in shapes.LABELS:
        drawn = np.asarray(shapes.draw(label, random)).reshape(-1, 3).astype(int)
        wanted = np.array(shapes.COLORS[label.split()[0]])
        assert drawn.shape == (shapes.DRAWN**2, 3)
        assert (np.abs(drawn - wanted).max(axis=1) <= 25).mean() > 0.05, label


def test_the_folder_has_what_the_settings_name(
    shapes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes, "EACH", 2)
    monkeypatch.setattr(shapes, "HELD_BACK", 1)
    monkeypatch.setattr(shapes, "EPOCHS", 1)
    assert shapes.main(["--out", str(tmp_path)]) == 0

    from model.formats.load import load_model

    source = settings().model
    assert Path(source.path).name == "shapes.keras"
    signature = load_model(tmp_path / "shapes.keras").signature
    [given] = source.outputs
    assert isinstance(given.labels, str)
    assert Path(given.labels) == Path(source.path).with_name("labels.txt")
    labels = (tmp_path / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert labels == shapes.LABELS
    assert [spec.name for spec in signature.inputs] == [each.name for each in source.inputs]
    assert [spec.name for spec in signature.outputs] == [given.name]
    assert signature.outputs[0].shape == (len(labels),)
    assert len(list((tmp_path / "pictures").iterdir())) == len(labels)


@pytest.mark.torture
def test_the_pictures_to_try_get_their_labels(tmp_path: Path) -> None:
    folder = tmp_path / "shapes"
    command = [sys.executable, "-m", "model.train_shapes", "--out", str(folder)]
    subprocess.run(command, check=True, cwd=CHECKOUT, timeout=300)
    source = settings().model
    outputs = {"label": {"labels": str(folder / "labels.txt")}}
    inputs = {each.name: {"image": {"scale": each.image.scale}} for each in source.inputs}
    options = ("--model.inputs", json.dumps(inputs), "--model.outputs", json.dumps(outputs))
    with Server(
        tmp_path / "server", str(folder / "shapes.keras"), *options, command=REAL
    ) as server:
        port = server.until_ready().port
        right = 0
        for file in sorted((folder / "pictures").iterdir()):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                headers = {"Content-Type": "image/png"}
                connection.request("POST", "/predict", file.read_bytes(), headers)
                answer = json.loads(connection.getresponse().read())
            right += answer["prediction"][0]["label"].replace(" ", "-") == file.stem

    assert right >= 10  # of 12
