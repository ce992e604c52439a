"""Predicts how long batches take."""

from __future__ import annotations


class Speed:
    """Predicts how long batches take from those that ran: `fixed + per_row * rows` seconds.

    A least-squares fit in which each batch weighs a tenth less than the one after it.
    """

    def __init__(self) -> None:
        self._weight = self._n = self._t = self._nn = self._nt = 0.0
        self._fixed = self._per_row = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """Add a batch that ran."""
        self._weight = 0.9 * self._weight + 1
        self._n = 0.9 * self._n + rows
        self._t = 0.9 * self._t + seconds
        self._nn = 0.9 * self._nn + rows * rows
        self._nt = 0.9 * self._nt + rows * seconds
        spread = self._weight * self._nn - self._n * self._n
        covariance = self._weight * self._nt - self._n * self._t
        self._per_row = max(0.0, covariance / spread) if spread > 1e-6 * self._nn else 0.0
        self._fixed = max(0.0, (self._t - self._per_row * self._n) / self._weight)

    def predict(self, batches: int, rows: int) -> float:
        """Return the seconds that `batches` batches with `rows` rows in total should take."""
        return batches * self._fixed + rows * self._per_row
