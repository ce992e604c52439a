"""The interface of a loaded network, independent of the library that computes it."""

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
        """Compute a batch; inputs and outputs are in the signature's order.

        The first axis of every array is the rows. Raises whatever the network raises.
        """
