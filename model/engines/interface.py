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

    @property
    def fixed_rows(self) -> int | None:
        """The most rows of a call, for a network that was built for a fixed number; else None."""

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch; inputs and outputs are in the signature's order.

        The first axis of every array is the rows. Raises whatever the network raises.
        """
