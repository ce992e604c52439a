"""The interface of a loaded network, independent of the library that computes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from model.padding import PaddingHint
from model.signature import Signature


class Engine(Protocol):
    """A network in memory, called once for each batch."""

    @property
    def name(self) -> str:
        """The engine that computes it, in the words of `model.engine`."""

    @property
    def signature(self) -> Signature:
        """Its inputs and outputs."""

    @property
    def fixed_rows(self) -> int | None:
        """The most rows of a call, for a network that was built for a fixed number; else None."""

    @property
    def is_half_precision(self) -> bool:
        """Whether it computes with 16 bits anywhere."""

    @property
    def eager(self) -> EagerEngine | None:
        """The same network called layer by layer; None if there is no other way to call it."""

    @property
    def padding_hint(self) -> PaddingHint | None:
        """What its layers say about padding; None if they are not known."""

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute a batch; inputs and outputs are in the signature's order.

        The first axis of every array is the rows. Raises whatever the network raises.
        """


class EagerEngine(Engine, Protocol):
    """A network that Keras calls layer by layer: slower, and right where tracing is not."""

    def margins(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return how clear the decisions of each row are, of shape `[rows]`.

        That is the least distance between two values that the network compares (`argmax`, `top_k`,
        `>`), or of a value to where it is rounded otherwise, relative to the largest of them;
        infinite where it does neither.
        """
