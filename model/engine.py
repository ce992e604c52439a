"""What computes a network: one small interface, whatever it is computed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from model.signature import Signature


class Engine(Protocol):
    """A network in memory, called once for each batch."""

    @property
    def signature(self) -> Signature:
        """Its inputs and outputs."""

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch: the inputs in the signature's order, and so the outputs.

        All arrays share their first axis, the rows. Raises whatever the network raises.
        """
