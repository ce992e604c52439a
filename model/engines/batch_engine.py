"""What all engines share: calls of a fixed number of rows, and answers to parts of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from model.engines.interface import EagerEngine
from model.padding import PaddingHint
from model.signature import Signature
from model.tensors import Rows, Tensors, View, merge, split


class BatchEngine(ABC):
    """A network that is called once for each batch; see `model.engines.interface.Engine`.

    Attributes:
        name: the engine, in the words of `model.engine`.
        signature: what it takes and returns, in its own order.
        fixed_rows: the number of rows that every call has; None: any number. Fewer are filled up
            with copies of the last row, and the answers to those are dropped.
        is_half_precision: whether it computes with 16 bits anywhere.
        eager: the same network called layer by layer, if there is another way to call it.
        padding_hint: what its layers say about padding; None if they are not known.
    """

    name: str
    eager: EagerEngine | None = None
    padding_hint: PaddingHint | None = None

    def __init__(
        self,
        signature: Signature,
        *,
        fixed_rows: int | None = None,
        is_half_precision: bool = False,
    ) -> None:
        self.signature = signature
        self.fixed_rows = fixed_rows
        self.is_half_precision = is_half_precision

    @abstractmethod
    def _outputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch, with the number of rows that the network takes."""

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Call the network once: the inputs in the signature's order, and so the outputs.

        All share their first axis, which may have any length, or up to `fixed_rows`.
        """
        if self.fixed_rows is not None:
            return self._call_filled_up(arrays, self.fixed_rows)
        return self._outputs(arrays)

    def _call_filled_up(self, arrays: Sequence[np.ndarray], fixed: int) -> list[np.ndarray]:
        rows = len(arrays[0])
        if rows > fixed:
            raise ValueError(f"{rows} rows where the network takes {fixed}")
        outputs = self._outputs([filled_up_to(fixed, array) for array in arrays])
        return [output[:rows] if len(output) == fixed else output for output in outputs]

    def predict(self, parts: Sequence[Rows]) -> list[View]:
        """Answer `parts`, all of one `row_shape`, by ONE call of the network.

        Arrays have the names, shapes and dtypes of the signature, and so have the answers.
        Raises RowCountMismatch when the network does not answer one row for each.
        """
        batch = merge(parts)
        outputs = self.call([batch.arrays[spec.name] for spec in self.signature.inputs])
        names = [spec.name for spec in self.signature.outputs]
        answer = Tensors(dict(zip(names, outputs, strict=True)))
        return split(answer, [len(part) for part in parts])


def filled_up_to(count: int, array: np.ndarray) -> np.ndarray:
    """Return `count` rows: those of `array`, and then copies of its last one."""
    missing = count - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
