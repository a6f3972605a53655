"""Blind votes between two answers, as a paired preference test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import lgamma, log

from paceline.stats.intervals import Interval

ASSUMED_SHARE, POWER = 0.75, 0.8
_MOST_VOTES = 2000


@dataclass(frozen=True, kw_only=True)
class Preference:
    """How often one was preferred to another, over votes that chose either; `p` is of the exact sign test.

    `verdict` is better, worse or tie. `needed` is of votes for either, where 75% of them prefer one: those
    after which four studies in five would say so.
    """

    share: Interval
    p: float
    verdict: str
    needed: int


def preference(wins: int, losses: int, comparisons: int = 1) -> Preference:
    """The test of `wins` against `losses`, one of `comparisons` that hold together at 95%.

    The interval is Clopper and Pearson's (1934), for a number of votes that was chosen beforehand. The
    verdict may be looked at after every vote: it needs the evidence that a mixture over all shares gives
    against equality to reach comparisons / 0.05, which under equality ever happens with at most that chance
    (Ville 1939; Robbins 1970).
    """
    from scipy import stats  # half a second of import

    count = wins + losses
    needed = votes_needed(comparisons)
    if count == 0:
        return Preference(
            share=Interval(value=float("nan"), low=0.0, high=1.0, n=0), p=1.0, verdict="tie", needed=needed
        )
    test = stats.binomtest(wins, count)
    bounds = test.proportion_ci(1 - 0.05 / comparisons, "exact")
    return Preference(
        share=Interval(value=wins / count, low=float(bounds.low), high=float(bounds.high), n=count),
        p=float(test.pvalue),
        verdict=votes_verdict(wins, losses, comparisons),
        needed=needed,
    )


def votes_verdict(wins: int, losses: int, comparisons: int = 1) -> str:
    """better, worse or tie, as `preference` says it."""
    if log_evidence(wins, losses) < log(comparisons / 0.05):
        return "tie"
    return "better" if wins > losses else "worse"


def log_evidence(wins: int, losses: int) -> float:
    """log of the votes' likelihood under a uniform share, over that under equality."""
    return lgamma(wins + 1) + lgamma(losses + 1) - lgamma(wins + losses + 2) + (wins + losses) * log(2)


@cache
def votes_needed(comparisons: int = 1) -> int:
    """The fewest votes of which the verdict finds a share of ASSUMED_SHARE with POWER."""
    from scipy import stats

    for count in range(1, _MOST_VOTES):
        wins = [
            wins
            for wins in range(count // 2 + 1, count + 1)
            if votes_verdict(wins, count - wins, comparisons) == "better"
        ]
        if wins and stats.binom.sf(wins[0] - 1, count, ASSUMED_SHARE) >= POWER:
            return count
    return _MOST_VOTES
