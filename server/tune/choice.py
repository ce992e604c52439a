"""Which of the settings that were tried are recommended: the defaults, unless others are better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from server.loadtest.step import Step
from server.loadtest.sweep_result import SweepResult
from server.tune.candidates import Candidate

BETTER = 1.05  # times the best of the defaults: what is less, nobody would notice
TIMELY = 1.1  # times the answers in time under an overload
WORSE = 0.01  # of the requests at the knee that a bound on the queue may cost


@dataclass(frozen=True)
class Trial:
    """Settings, and their sweep in every round."""

    candidate: Candidate
    results: Sequence[SweepResult]

    @property
    def knees(self) -> list[float]:
        """The highest rate at which the objective held in each round; 0 where it never did."""
        return [result["knee"]["rate"] or 0.0 for result in self.results]

    @property
    def shows_the_server(self) -> bool:
        """Whether it was the server that ended the rise in every round, and never the load."""
        return all(result["knee"]["limit"] in ("server", "") for result in self.results)

    def __str__(self) -> str:
        return f"{self.candidate.name}: {', '.join(f'{knee:,g}/s' for knee in self.knees)}"


@dataclass(frozen=True)
class Choice:
    """What is recommended, and why."""

    trial: Trial
    why: str


def choose_trial(trials: Sequence[Trial]) -> Choice:
    """Choose among settings; the first are the defaults.

    Others must beat the best round of the defaults in their own worst round: what differs by less
    is not told from the noise of the machine. Nor is anything where the load was the limit.
    """
    defaults = trials[0]
    best = max(trials, key=lambda trial: median(trial.knees))
    if best is defaults:
        return Choice(defaults, "Nothing that was tried held a higher rate than the defaults")
    if min(best.knees) <= max(defaults.knees) * BETTER:
        return Choice(
            defaults,
            f"The defaults are as good as the rest: with {best.candidate.name} the rate was no "
            f"higher than the rounds differ among themselves ({best}; {defaults})",
        )
    if not defaults.shows_the_server:
        return Choice(
            defaults,
            f"The defaults, for want of evidence: with {best.candidate.name} the rate was higher "
            f"({best}; {defaults}), but with the defaults it was the client that was too busy. Try "
            "again when the machine has less else to do, or with longer steps",
        )
    gain = _gain(median(best.knees), median(defaults.knees))
    return Choice(best, f"With {best.candidate.name} the server held {gain} the defaults")


def _gain(rate: float, other: float) -> str:
    return f"{rate / other:.2f} times the rate of" if other else "a rate, and none with"


@dataclass(frozen=True)
class Overload:
    """What becomes of requests at the knee and beyond it, in each round."""

    candidate: Candidate
    at_knee: Sequence[Step]
    beyond: Sequence[Step]

    @property
    def share_at_knee(self) -> float:
        """The share of the requests at the knee that were answered in time."""
        return float(median(step["in_time"] for step in self.at_knee))

    @property
    def timely_rates(self) -> list[float]:
        """Answers in time, per second, under the overload."""
        return [step["in_time"] * step["due"] / step["seconds"] for step in self.beyond]


def bound_is_better(plain: Overload, bounded: Overload) -> tuple[bool, str]:
    """Tell whether a bound on the queue is worth having, and why or why not."""
    where = f"at {plain.beyond[0]['rate']:,g}/s, twice the knee"
    figures = (
        f"{_range(bounded.timely_rates)}/s in time with it, {_range(plain.timely_rates)}/s without"
    )
    if min(bounded.timely_rates) < max(plain.timely_rates) * TIMELY:
        return False, f"A bound on the queue made no clear difference {where}: {figures}"
    if bounded.share_at_knee < plain.share_at_knee - WORSE:
        return False, "A bound on the queue refused requests at the knee that were in time else"
    return True, f"The bound on the queue pays {where}: {figures}"


def _range(rates: Sequence[float]) -> str:
    low, high = f"{min(rates):,.0f}", f"{max(rates):,.0f}"
    return low if low == high else f"{low} to {high}"
