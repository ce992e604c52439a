"""Train the example model and save it: `python -m model.train [--out FILE]`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from rich.console import Console
from rich.progress import Progress

MODEL_FILE = Path(__file__).with_name("my_best_model.keras")
SEED = 0

logger = logging.getLogger(__name__)


def get_data() -> tuple[np.ndarray, np.ndarray]:
    """Return `X` of shape [rows, features] and `y` of shape [rows].

    Read a file or ask a database here; training does not care where data comes from.
    """
    X = np.array([[-1], [0], [1], [2], [3], [4]], dtype="float32")
    y = np.array([-2, 1, 4, 7, 10, 13], dtype="float32")
    return X, y


def train_model(
    X: ArrayLike,
    y: ArrayLike,
    optimizer: str = "sgd",
    loss: str = "mean_squared_error",
    epochs: int = 500,
) -> keras.Model:
    """Fit one dense unit to `X` and `y`; the same data gives the same weights every time."""
    X, y = np.asarray(X), np.asarray(y)
    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [keras.Input(X.shape[1:], name="x"), keras.layers.Dense(1, name="y")], name="my_best_model"
    )
    model.compile(optimizer=optimizer, loss=loss)
    logger.info("training on %d rows for %d epochs", len(X), epochs)
    batches = tf.data.Dataset.from_tensor_slices((X, y)).shuffle(len(X), seed=SEED).batch(32)
    with _progress(epochs) as progress:
        model.fit(
            batches.repeat(),  # with X and y, Keras would need 35 ms per epoch to set up a data set
            steps_per_epoch=len(batches),
            epochs=epochs,
            shuffle=False,  # the data set shuffles
            verbose=0,
            callbacks=[progress],
        )
    return model


def save_model(model: keras.Model, path: Path | str) -> None:
    """Save `model` as a `.keras` file; readers of `path` never see an incomplete file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        unfinished = Path(folder) / path.name
        model.save(unfinished)
        os.replace(unfinished, path)  # noqa: PTH105  # os.replace is known to be atomic
    logger.info("saved %s", path)


@contextmanager
def _progress(epochs: int) -> Iterator[keras.callbacks.Callback]:
    """Yield a callback that shows a bar on a terminal, else logs a line every 100 epochs."""
    if not sys.stderr.isatty():
        yield keras.callbacks.LambdaCallback(on_epoch_end=_log_epoch)
        return
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=epochs)
        yield keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: bar.advance(task))


def _log_epoch(epoch: int, logs: dict[str, float]) -> None:
    if (epoch + 1) % 100 == 0:
        logger.info("epoch %d: loss %.2g", epoch + 1, logs["loss"])


def main(argv: Sequence[str] | None = None) -> int:
    """Get the data, train and save the model; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=MODEL_FILE, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    if arguments.out.suffix != ".keras":
        parser.error(f"--out: {arguments.out} does not end in .keras")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    X, y = get_data()
    save_model(train_model(X, y), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
