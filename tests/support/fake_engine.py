"""Networks of numpy, and what a model process does with them before it serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from model.engines.interface import EagerEngine
from model.padding import PaddingHint
from model.process.batch_size import BatchSize
from model.process.neighbours import Neighbours
from model.process.prepare import Before, LoadRequest, Report, prepare
from model.process.trials import Trials
from model.signature import Signature, TensorSpec

NUMBERS = Signature((TensorSpec("x", (1,), "float32"),), (TensorSpec("y", (1,), "float32"),))
SEQUENCES = Signature((TensorSpec("x", (None,), "float32"),), (TensorSpec("y", (1,), "float32"),))
WORDS = Signature((TensorSpec("x", (2,), "string"),), (TensorSpec("y", (), "string"),))
REQUEST = LoadRequest("/kept/7", shown_path="m.keras", max_rows=4)

Network = Callable[[np.ndarray], np.ndarray]


class FakeEngine:
    """Computes its first input with a function.

    Attributes:
        calls: the input of every call.
    """

    fixed_rows: int | None = None
    name = "tensorflow"
    is_half_precision = False
    eager: EagerEngine | None = None
    padding_hint: PaddingHint | None = None

    def __init__(self, network: Network, signature: Signature = NUMBERS) -> None:
        self.signature = signature
        self.calls: list[np.ndarray] = []
        self._network = network

    @property
    def rows(self) -> list[int]:
        """The number of rows of each call."""
        return [len(x) for x in self.calls]

    def margins(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.full(len(arrays[0]), np.inf)

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.calls.append(arrays[0])
        return [self._network(arrays[0])]


def line(x: np.ndarray) -> np.ndarray:
    return 3 * x[:, :1] + np.float32(1)


def prepared(engine: FakeEngine, request: LoadRequest = REQUEST) -> tuple[Report, list[str]]:
    """Return the report, and the steps that were told."""
    steps: list[str] = []
    loaded, report = prepare(lambda _: engine, request, steps.append)
    assert loaded in (engine, engine.eager)
    return report, steps


def version(network: Network, signature: Signature = NUMBERS, rows: int = 4) -> Before:
    """What is known of a version that is served."""
    report, _ = prepared(FakeEngine(network, signature))
    return Before(signature, BatchSize(rows), report.golden)


def only(accepted: Callable[[np.ndarray], Any]) -> Network:
    """A network that fails on rows with any other values."""

    def picky(x: np.ndarray) -> np.ndarray:
        if not np.all(accepted(x)):
            raise ValueError("unknown values")
        return np.ones((len(x), 1), "float32")

    return picky


def trials(network: Network, signature: Signature = NUMBERS) -> Trials:
    return Trials(FakeEngine(network, signature), "m.keras")


def neighbours(network: Network, signature: Signature = NUMBERS) -> Neighbours:
    return Neighbours(trials(network, signature))
