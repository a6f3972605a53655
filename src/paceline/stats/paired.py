"""Paired differences between two runs over the same held-out examples."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paceline.errors import RunError
from paceline.runs.losses import ExampleLosses

Verdict = Literal["better", "worse", "tie"]
RESAMPLES = 9999


@dataclass(frozen=True)
class Difference:
    """How much higher a run's held-out loss is than another's, in nats a token; negative is better.

    `low` and `high` bound the 95% interval. `examples` were compared; `left_out` are held out in only one of the runs, or cut differently.
    """

    delta: float
    low: float
    high: float
    examples: int
    left_out: int

    @property
    def verdict(self) -> Verdict:
        """better or worse only where the interval leaves zero out."""
        if self.high < 0:
            return "better"
        return "worse" if self.low > 0 else "tie"


def paired_difference(run: ExampleLosses, other: ExampleLosses, seed: int = 0) -> Difference:
    """Difference of the token-weighted mean losses, with a percentile interval from a paired bootstrap over examples.

    Examples are resampled, both runs' losses together (Efron and Tibshirani 1993, ch. 13; scipy.stats.bootstrap with paired=True), since
    tokens of one example are no independent observations. The interval covers the choice of examples, not of the training seed.

    Raises:
        RunError: the two runs have no held-out example in common.
    """
    mine, theirs = _common(run, other)
    left_out = len(run.row) + len(other.row) - 2 * len(mine)
    if len(mine) == 0:
        raise RunError(
            "the runs have no held-out example in common; they were trained on different data or splits and cannot be compared"
        )
    gap = (run.loss[mine] - other.loss[theirs], run.tokens[mine].astype(np.float64))
    delta = float(_ratio(*gap))
    if len(mine) == 1 or not gap[0].any():
        return Difference(
            delta,
            delta if len(mine) > 1 else -np.inf,
            delta if len(mine) > 1 else np.inf,
            len(mine),
            left_out,
        )
    interval = stats.bootstrap(
        gap, _ratio, paired=True, vectorized=True, n_resamples=RESAMPLES, batch=max(1, 2**22 // len(mine)), method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Difference(delta, float(interval.low), float(interval.high), len(mine), left_out)


def shared_examples(run: ExampleLosses, other: ExampleLosses) -> int:
    """How many held-out examples two runs share, cut alike."""
    return len(_common(run, other)[0])


def _ratio(gaps: NDArray[np.float64], tokens: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    return np.asarray(gaps.sum(axis=axis) / tokens.sum(axis=axis))


def _common(run: ExampleLosses, other: ExampleLosses) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the examples that both runs hold out with the same number of supervised tokens."""
    left, right = (
        [f"{row} {source}" for row, source in zip(side.row, side.source, strict=True)]
        for side in (run, other)
    )
    _, mine, theirs = np.intersect1d(
        np.asarray(left), np.asarray(right), assume_unique=True, return_indices=True
    )
    same = run.tokens[mine] == other.tokens[theirs]
    return mine[same], theirs[same]
