"""Measures in rounds: each starts, warms up, measures and stops one contestant after another.

Only one server runs at a time, because some use CPU while idle, and all together need several GiB.
They are restarted in every round, not paused with SIGSTOP: Ray considers its own processes dead
after such a pause.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from scripts.comparison.contestants import Contestant
from scripts.comparison.process import ask, running
from scripts.comparison.results import Results
from scripts.comparison.venvs import Missing, python_of
from scripts.comparison.wrk import Measurement, measure

WARM_UP_CONNECTIONS = 64
WARM_UP_SECONDS = 1

Tell = Callable[[str], None]
Side = TypeVar("Side")


def in_turn(contestants: Sequence[Side], rounds: int) -> list[list[Side]]:
    """Return the order of each round: all contestants, each time starting with another one."""
    if not contestants:
        return [[]] * rounds
    starts = [number % len(contestants) for number in range(rounds)]
    return [[*contestants[start:], *contestants[:start]] for start in starts]


class Rounds:
    """Measures the contestants at each number of connections, and records which fail."""

    def __init__(
        self, model: Path, connections: Sequence[int], seconds: int, results: Results, tell: Tell
    ) -> None:
        self._model = model
        self._connections = connections
        self._seconds = seconds
        self._results = results
        self._tell = tell
        self._pythons: dict[str, str] = {}

    def run(self, contestants: Sequence[Contestant], rounds: int) -> None:
        """Fill the results; a contestant that fails once is not measured again."""
        for contestant in contestants:
            self._tell(f"{contestant.name}: preparing its environment")
            with self._noting_failure_of(contestant):
                self._pythons[contestant.name] = python_of(contestant.venv)
        for number, order in enumerate(in_turn(contestants, rounds), 1):
            for contestant in order:
                if contestant.name not in self._results.missing:
                    self._tell(f"round {number} of {rounds}: {contestant.name}")
                    with self._noting_failure_of(contestant):
                        self._measure(contestant, number)

    def _measure(self, contestant: Contestant, number: int) -> None:
        with running(contestant, self._pythons[contestant.name], self._model) as server:
            port = server.port
            self._load(contestant, port, WARM_UP_CONNECTIONS, WARM_UP_SECONDS)
            for connections in self._connections:
                ask(contestant, port)  # waits until it has finished earlier requests
                measured = self._load(contestant, port, connections, self._seconds)
                self._results.add(number, contestant.name, connections, measured)

    def _load(
        self, contestant: Contestant, port: int, connections: int, seconds: int
    ) -> Measurement:
        url = f"http://127.0.0.1:{port}{contestant.path}"
        return measure(url, contestant.body, connections, seconds)

    @contextlib.contextmanager
    def _noting_failure_of(self, contestant: Contestant) -> Iterator[None]:
        try:
            yield
        except (Missing, OSError, http.client.HTTPException) as error:
            self._results.missing[contestant.name] = str(error) or type(error).__name__
            self._tell(f"{contestant.name} is missing: {error}")
