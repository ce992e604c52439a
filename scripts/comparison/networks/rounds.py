"""Measures all servers with one network after another.

All servers of a network are started and checked first, and then stopped with SIGSTOP. In every
round one after another continues, is checked, warmed up and measured. So only one uses the cores
while it is measured, and a round is short.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.comparison.contestants import Contestant
from scripts.comparison.networks.checks import about_engines, check, request_of, require_choice
from scripts.comparison.networks.prepare import Prepared, prepare
from scripts.comparison.process import Running, running
from scripts.comparison.results import Results
from scripts.comparison.rounds import Tell, in_turn
from scripts.comparison.venvs import Missing, python_of
from scripts.comparison.wrk import Measurement, measure

READY_WITHIN = 1800.0  # seconds; `auto` tries engines first
WARM_UP_SECONDS = 1
CHOOSING = ("ours-auto", "ours-per-core")


class NetworkRounds:
    """Measures the contestants with a network at each number of connections.

    Attributes:
        engines: the engine that `auto` chose, by the name of the network.
    """

    def __init__(self, connections: Sequence[int], seconds: float, rounds: int, tell: Tell) -> None:
        self._connections = connections
        self._seconds = seconds
        self._rounds = rounds
        self._tell = tell
        self.engines: dict[str, str] = {}

    def run(self, name: str, contestants: Sequence[Contestant], folder: Path) -> Results:
        """Return the results with a network; a contestant that fails once is not measured again.

        Raises Missing if the network cannot be made.
        """
        self._tell(f"{name}: making it, and converting it")
        network, results = prepare(name, folder), Results()
        with contextlib.ExitStack() as stack:
            servers = {}
            for each in contestants:
                self._tell(f"{name}: starting {each.name}")
                with self._noting_failure_of(each, results):
                    servers[each.name] = self._started(stack, each, network)
            for number, order in enumerate(in_turn(contestants, self._rounds), 1):
                for each in order:
                    if each.name not in results.missing:
                        self._tell(f"{name}: round {number} of {self._rounds}: {each.name}")
                        with self._noting_failure_of(each, results):
                            self._measure(servers[each.name], each, network, number, results)
        return results

    def _started(
        self, stack: contextlib.ExitStack, contestant: Contestant, network: Prepared
    ) -> Running:
        python = python_of(contestant.venv)
        if contestant.name in CHOOSING:  # the first start chooses, the second finds the choice

            def chosen(_: Contestant, port: int) -> None:
                require_choice(port, network.model.stem)

            with running(contestant, python, network.model, chosen, READY_WITHIN):
                pass
        server = stack.enter_context(
            running(
                contestant,
                python,
                network.model,
                lambda each, port: check(each, port, network),
                READY_WITHIN,
            )
        )
        server.pause()
        return server

    def _measure(
        self,
        server: Running,
        contestant: Contestant,
        network: Prepared,
        number: int,
        results: Results,
    ) -> None:
        server.resume()
        try:
            if contestant.name == "ours-auto":
                about = about_engines(server.port, network.model.stem)
                self.engines[network.model.stem] = str(about["engine"])
            most = max(self._connections)
            self._load(contestant, server.port, network, most, WARM_UP_SECONDS)
            for connections in self._connections:
                check(contestant, server.port, network)
                done = self._load(contestant, server.port, network, connections, self._seconds)
                results.add(number, contestant.name, connections, done)
        finally:
            server.pause()

    def _load(
        self,
        contestant: Contestant,
        port: int,
        network: Prepared,
        connections: int,
        seconds: float,
    ) -> Measurement:
        path, request = request_of(contestant, network, 0)
        url = f"http://127.0.0.1:{port}{path}"
        return measure(url, request.body, connections, seconds, request.headers)

    @contextlib.contextmanager
    def _noting_failure_of(self, contestant: Contestant, results: Results) -> Iterator[None]:
        try:
            yield
        except (Missing, OSError, http.client.HTTPException) as error:
            results.missing[contestant.name] = str(error) or type(error).__name__
            self._tell(f"{contestant.name} is missing: {error}")
