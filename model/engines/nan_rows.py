"""Answers NaN to rows that have NaN or infinity in their input, where an engine loses them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.engines.batch_engine import BatchEngine


class NanRows(BatchEngine):
    """An engine that loses NaN or infinity, such as in `relu`, with NaN answered in place of that.

    `model.engines.agree` finds out which.
    """

    def __init__(self, engine: BatchEngine, values: Sequence[float]) -> None:
        """`values` are of NaN, infinity and minus infinity."""
        super().__init__(engine.signature, fixed_rows=engine.fixed_rows)
        self.name = engine.name
        self.padding_hint = engine.padding_hint
        self._engine = engine
        self._values = tuple(values)

    def _outputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        answers = self._engine.call(arrays)
        rows = rows_with(self._values, arrays)
        if rows is None:
            return answers
        answers = [np.array(answer) for answer in answers]
        for answer in answers:
            answer[rows] = np.nan
        return answers


def rows_with(values: Sequence[float], arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return which rows have one of these values, of shape `[rows]`; None if none has.

    A sum tells in a fraction of the time that a look at each number takes.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = [a for a in arrays if a.dtype.kind == "f" and not np.isfinite(a.sum())]
    cells = [array.reshape(len(array), -1) for array in suspects]
    found = [is_value(each, value).any(axis=1) for each in cells for value in values]
    rows: np.ndarray = np.logical_or.reduce(found) if found else np.zeros(0, bool)
    return rows if rows.any() else None


def is_value(cells: np.ndarray, value: float) -> np.ndarray:
    """Return where cells have a value, which may be NaN."""
    found: np.ndarray = np.isnan(cells) if np.isnan(value) else cells == value
    return found
