"""Predict with a saved model: `python -m model.predict 10 [--model FILE]`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from model.formats.load import BatchEngine, ModelError, load_model
from model.signature import TensorSpec
from model.tensors import Tensors

MODEL_FILE = Path(__file__).with_name("my_best_model.keras")

logger = logging.getLogger(__name__)


def load_keras_model(path: Path | str) -> BatchEngine:
    """Load a `.keras` or `.h5` file; raises ModelError with the reason if that fails."""
    model = load_model(path)
    logger.info("loaded %s", path)
    return model


def predict(data: ArrayLike, model: BatchEngine) -> np.ndarray:
    """Return the predictions for `data`, one row each: shape [rows, ...].

    `data` is one example or several: an array of shape [rows, ...], or plain numbers for a
    model that takes one number. Raises ValueError if it does not fit the model, or if the model
    has several inputs or outputs.
    """
    if len(model.signature.inputs) > 1 or len(model.signature.outputs) > 1:
        raise ValueError("the model has several inputs or outputs; use its method predict")
    (source,), (target,) = model.signature.inputs, model.signature.outputs
    rows = _as_rows(data, source)
    prediction = model.predict([Tensors({source.name: rows})])[0].arrays[target.name]
    logger.info("input %s, prediction %s", rows.tolist(), prediction.tolist())
    return prediction


def _as_rows(data: ArrayLike, spec: TensorSpec) -> np.ndarray:
    array = np.asarray(data, dtype=spec.array_dtype)
    if spec.shape == (1,) and array.ndim < 2:
        array = array.reshape(-1, 1)
    elif array.ndim == spec.rank:
        array = array[np.newaxis]
    fits = len(array.shape) == spec.rank + 1 and all(
        size in (None, given) for size, given in zip(spec.shape, array.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(f"data of shape {list(array.shape)} does not fit the input {spec}")
    return array


def main(argv: Sequence[str] | None = None) -> int:
    """Print the prediction for each number; return 2 if the model cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m model.predict", description=__doc__)
    parser.add_argument("numbers", type=float, nargs="+", metavar="NUMBER")
    parser.add_argument("--model", type=Path, default=MODEL_FILE, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        predictions = predict(arguments.numbers, load_keras_model(arguments.model))
    except (ModelError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    for prediction in predictions:
        print(*prediction.ravel())
    return 0


if __name__ == "__main__":
    sys.exit(main())
