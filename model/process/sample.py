"""A sample of an answer that is too large to keep, for the comparison with the next version.

A version keeps its answers to the examples in the main process for as long as it is served. One row
of an image that is scaled up may take 25 MB.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from model.tensors import Tensors

MAX_KEPT_BYTES: Final = 2**20  # rows, or an answer, that are kept whole
SAMPLED_CELLS: Final = 1024  # of a row of each output


class Sample(Tensors):
    """Some cells of each row of an answer, in arrays of shape `[rows, cells]`.

    The first cell of a row is NaN if any cell of the whole answer is NaN or infinite.
    """


def kept(answer: Tensors) -> Tensors:
    """Return what is kept of an answer: all of it, or a sample if it is large."""
    return answer if answer.nbytes <= MAX_KEPT_BYTES else sample(answer)


def in_form_of(before: Tensors, answer: Tensors) -> Tensors:
    """Return an answer as the one before was kept, so that both can be compared."""
    return sample(answer) if isinstance(before, Sample) else answer


def sample(answer: Tensors) -> Sample:
    """Return a sample; answers of equal shapes are sampled at the same places."""
    return Sample({name: _cells(array) for name, array in answer.arrays.items()})


def _cells(array: np.ndarray) -> np.ndarray:
    rows = array.reshape(len(array), -1)
    cells = rows.shape[1]
    if cells > SAMPLED_CELLS:  # at random, as a fixed step may hit one channel of an image only
        rows = rows[:, np.random.default_rng(cells).integers(0, cells, SAMPLED_CELLS)]
    if array.dtype.kind == "f" and cells and not np.isfinite(array).all():
        rows = rows.copy()
        rows[:, 0] = np.nan
    return rows
