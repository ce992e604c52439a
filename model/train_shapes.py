"""Draw shapes in colours, and train a classifier of them: `python -m model.train_shapes`.

The folder has the model, its labels, and a few pictures to try. `model/shapes.yaml` serves it.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import keras
import numpy as np
from PIL import Image, ImageDraw

from model.train import SEED, save_model

FOLDER: Final = Path(__file__).with_name("shapes")
SIDE: Final = 32  # of what the model takes
DRAWN: Final = 160  # larger, so that the edges become smooth
EACH: Final = 250  # pictures of each label, to train
HELD_BACK: Final = 50  # and to test
EPOCHS: Final = 16

Color = tuple[int, int, int]
COLORS: Final[dict[str, Color]] = {
    "red": (210, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 70, 210),
    "yellow": (235, 205, 40),
}
CORNERS: Final = {"circle": 60, "square": 4, "triangle": 3}
LABELS: Final = [f"{color} {shape}" for color in COLORS for shape in CORNERS]

logger = logging.getLogger(__name__)


def draw(label: str, random: np.random.Generator) -> Image.Image:
    """Return a picture of DRAWN pixels each way: one shape, anywhere, on a grey ground."""
    color, shape = label.split()
    ground = int(random.integers(30, 226)) + random.integers(-15, 16, 3)
    picture = Image.new("RGB", (DRAWN, DRAWN), _color(ground))
    radius = DRAWN * random.uniform(0.25, 0.42)
    x, y = random.uniform(radius, DRAWN - radius, 2)
    turned = math.pi / 4 + random.uniform(-0.4, 0.4)
    angles = turned + np.arange(CORNERS[shape]) * (2 * math.pi / CORNERS[shape])
    points = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    fill = _color(np.array(COLORS[color]) + random.integers(-25, 26, 3))
    ImageDraw.Draw(picture).polygon(points, fill=fill)
    return picture


def dataset(each: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures of shape [rows, SIDE, SIDE, 3] from 0 to 1, and the indices of labels."""
    rows = [np.asarray(picture) for picture in _small(each, random)]
    return np.stack(rows).astype("float32") / 255, np.repeat(np.arange(len(LABELS)), each)


def train(X: np.ndarray, y: np.ndarray) -> keras.Model:
    """Fit a small convolutional network; its output has a score for each of LABELS."""
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    convolutions = []
    for filters in (16, 32, 32):
        convolutions += [
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
        ]
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3), name="picture"),
            *convolutions,
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(len(LABELS), activation="softmax", name="label"),
        ],
        name="shapes",
    )
    optimizer = keras.optimizers.Adam(2e-3)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, y, batch_size=32, epochs=EPOCHS, verbose=0)
    return model


def _small(each: int, random: np.random.Generator) -> Iterator[Image.Image]:
    """Yield pictures of all labels as the service makes them of files: `method: bilinear`."""
    for label in LABELS:
        for _ in range(each):
            yield draw(label, random).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def _color(levels: np.ndarray) -> Color:
    red, green, blue = np.clip(levels, 0, 255).tolist()
    return red, green, blue


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, train, and write the folder; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.train_shapes", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (default: %(default)s)")
    folder: Path = parser.parse_args(argv).out
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    random = np.random.default_rng(SEED)
    model = train(*dataset(EACH, random))
    _, accuracy = model.evaluate(*dataset(HELD_BACK, random), verbose=0)
    logger.info("%.1f %% of %d other pictures are right", 100 * accuracy, HELD_BACK * len(LABELS))
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for label in LABELS:
        draw(label, random).save(folder / "pictures" / f"{label.replace(' ', '-')}.png")
    (folder / "labels.txt").write_text("\n".join([*LABELS, ""]), encoding="utf-8")
    save_model(model, folder / "shapes.keras")
    return 0


if __name__ == "__main__":
    sys.exit(main())
