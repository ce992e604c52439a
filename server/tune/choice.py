"""Chooses the recommended settings: the defaults, unless others are clearly better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from server.loadtest.step import Step
from server.loadtest.sweep_result import SweepResult
from server.tune.candidates import DEFAULTS, Candidate

BETTER = 1.05  # other settings must have more than this many times the rate of the defaults
TIMELY = 1.1  # a limit must give at least this many times the answers in time during overload
WORSE = 0.01  # share of the requests at the knee that a limit on the queueing time may cost


@dataclass(frozen=True)
class Trial:
    """Settings, and the result of their sweep in every round."""

    candidate: Candidate
    results: Sequence[SweepResult]

    @property
    def knees(self) -> list[float]:
        """The knee of each round; 0 where no rate met the objective."""
        return [result["knee"]["rate"] or 0.0 for result in self.results]

    @property
    def shows_the_server(self) -> bool:
        """Whether the server, not the client, was the limit in every round."""
        return all(result["knee"]["limit"] in ("server", "") for result in self.results)

    def __str__(self) -> str:
        return f"{self.candidate.name}: {', '.join(f'{knee:,g}/s' for knee in self.knees)}"


@dataclass(frozen=True)
class Choice:
    """The recommended settings, and why."""

    trial: Trial
    why: str


def choose_trial(trials: Sequence[Trial]) -> Choice:
    """Choose one of the trials; the first one has the defaults, or what was chosen so far.

    Other settings are chosen only if their worst round beats the best round of the first, since
    smaller differences may be noise, and only if the server was the limit with the first.
    """
    first = trials[0]
    name = first.candidate.name
    stays = "The defaults are recommended" if name == DEFAULTS else f"{name} is kept"
    best = max(trials, key=lambda trial: median(trial.knees))
    if best is first:
        return Choice(first, f"No other settings sustained a higher rate than {name}")
    if min(best.knees) <= max(first.knees) * BETTER:
        return Choice(
            first,
            f"{stays}: the gain from {best.candidate.name} is within the "
            f"differences between rounds ({best}; {first})",
        )
    if not first.shows_the_server:
        return Choice(
            first,
            f"{stays} for lack of evidence: with "
            f"{best.candidate.name} the rate was higher ({best}; {first}), but with "
            f"{name} the client was the limit, not the server. Try again on a less busy machine, "
            "or with longer steps",
        )
    gain = _gain(median(best.knees), median(first.knees))
    return Choice(best, f"With {best.candidate.name} the server sustained {gain} {name}")


def _gain(rate: float, other: float) -> str:
    return f"{rate / other:.2f} times the rate of" if other else f"{rate:,g}/s, and no rate with"


@dataclass(frozen=True)
class Stage:
    """Candidates that differ in one respect, such as the engine, and the one that was chosen."""

    title: str
    trials: Sequence[Trial]
    choice: Choice


@dataclass(frozen=True)
class Overload:
    """The steps at the knee and beyond it, in each round."""

    candidate: Candidate
    at_knee: Sequence[Step]
    beyond: Sequence[Step]

    @property
    def share_at_knee(self) -> float:
        """The share of the requests at the knee that were answered in time."""
        return float(median(step["in_time"] for step in self.at_knee))

    @property
    def timely_rates(self) -> list[float]:
        """Answers in time per second during the overload, in each round."""
        return [step["in_time"] * step["due"] / step["seconds"] for step in self.beyond]


def queue_limit_helps(plain: Overload, limited: Overload) -> tuple[bool, str]:
    """Return whether to recommend a limit on the queueing time, and the reason."""
    where = f"at {plain.beyond[0]['rate']:,g}/s, twice the knee"
    figures = (
        f"{_range(limited.timely_rates)}/s answered in time with it, "
        f"{_range(plain.timely_rates)}/s without"
    )
    if min(limited.timely_rates) < max(plain.timely_rates) * TIMELY:
        return False, f"A limit on the queueing time made no clear difference {where}: {figures}"
    if limited.share_at_knee < plain.share_at_knee - WORSE:
        return False, (
            "A limit on the queueing time is not recommended: at the knee it rejected requests "
            "that were answered in time without it"
        )
    return True, f"The limit on the queueing time helps {where}: {figures}"


def _range(rates: Sequence[float]) -> str:
    low, high = f"{min(rates):,.0f}", f"{max(rates):,.0f}"
    return low if low == high else f"{low} to {high}"
