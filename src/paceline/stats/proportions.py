"""Shares of tasks that are passed."""

from collections.abc import Sequence
from math import comb

from paceline.stats.intervals import Interval, share_interval


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Unbiased estimate that one of k answers passes (Chen et al. 2021, arXiv:2107.03374, eq. 1)."""
    return 1.0 - comb(samples - passed, k) / comb(samples, k)


def mean_pass_at_k(tasks: Sequence[Sequence[bool]], k: int) -> Interval:
    """Mean pass@k of tasks that were answered several times, with its interval over the tasks."""
    estimates = [pass_at_k(len(answers), sum(answers), k) for answers in tasks]
    return share_interval(range(len(estimates)), estimates)
