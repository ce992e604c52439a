"""A network that Keras calls layer by layer, without tracing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from model.engines.margins import margins_of
from model.engines.tensorflow import TensorFlowEngine
from model.signature import Signature

SHAPES_REMEMBERED: Final = 1024

Shapes = tuple[tuple[int, ...], ...]


class LayerByLayer(TensorFlowEngine):
    """Calls the layers of a model in turn, each with tensors whose sizes are known."""

    def __init__(
        self,
        call: Callable[..., list[Any]],
        signature: Signature,
        *,
        check: Callable[[Shapes], None],
        fixed_rows: int | None = None,
        is_half_precision: bool = False,
    ) -> None:
        """`call` takes and returns tensors in the signature's order.

        `check` is called once with each new shapes of the inputs, and raises ValueError for those
        that `call` must not get.
        """
        super().__init__(
            self._checked, signature, fixed_rows=fixed_rows, is_half_precision=is_half_precision
        )
        self._layers = call
        self._check = lru_cache(SHAPES_REMEMBERED)(check)

    def _checked(self, arrays: list[np.ndarray]) -> list[Any]:
        self._check(tuple(array.shape for array in arrays))
        return self._layers(*self._tensors(arrays))

    def _tensors(self, arrays: Sequence[np.ndarray]) -> list[Any]:
        import tensorflow as tf

        specs = self.signature.inputs
        return [tf.constant(a, spec.dtype) for a, spec in zip(arrays, specs, strict=True)]

    def margins(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return how clear the decisions of each row are, of shape `[rows]`.

        See `model.engines.interface.EagerEngine`.
        """
        import tensorflow as tf

        rows = len(arrays[0])

        def margins(*tensors: Any) -> Any:
            self._layers(*tensors)
            return margins_of(tf.compat.v1.get_default_graph(), rows)

        found: np.ndarray = tf.function(margins, autograph=False)(*self._tensors(arrays)).numpy()
        return found
