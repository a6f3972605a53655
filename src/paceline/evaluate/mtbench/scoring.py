"""Scores from judgments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paceline.comparison.scores import rating_difference
from paceline.runs.evaluations import Judgment, MTBenchScores
from paceline.stats.intervals import Interval, cluster_interval


def scores(
    judgments: Sequence[Judgment], base: Sequence[Judgment] | None = None, cut: int | None = None
) -> MTBenchScores:
    """One run's mean ratings with 95% intervals over questions, and the paired change from the base.

    Judgments without a rating are counted, and left out of the means. `cut` says how many of the answers
    ended at the token limit.
    """
    valid = [judgment for judgment in judgments if judgment.is_valid]
    raws = [judgment.raw for judgment in judgments if judgment.raw is not None]
    turns, categories = (sorted({getattr(j, name) for j in valid}) for name in ("turn", "category"))
    return MTBenchScores(
        average=_mean(valid),
        failed=len(judgments) - len(valid),
        cut=cut,
        turns={str(turn + 1): _mean([j for j in valid if j.turn == turn]) for turn in turns},
        categories={name: _mean([j for j in valid if j.category == name]) for name in categories},
        raw=float(np.mean(raws)) if raws else None,
        change=None if base is None else rating_difference(judgments, base),
    )


def _mean(judgments: Sequence[Judgment]) -> Interval:
    """Mean rating; the turns of a question are not independent, so questions are resampled."""
    return cluster_interval([j.id for j in judgments], [j.rating for j in judgments])
