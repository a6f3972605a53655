"""Scores from judgments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paceline.comparison.scores import cut_too_often, rating_difference
from paceline.runs.evaluations import Judgment, MTBenchScores, PairJudgment, PairwiseScores
from paceline.stats.intervals import Interval, cluster_interval, share_interval

RATINGS = (1.0, 10.0)


def scores(
    judgments: Sequence[Judgment],
    base: Sequence[Judgment] | None = None,
    cut: int | None = None,
    base_cut: int | None = None,
) -> MTBenchScores:
    """One run's mean ratings with 95% intervals over questions, and the paired change from the base.

    Judgments without a rating are counted, and left out of the means. `cut` and `base_cut` say how many of
    the answers ended at the token limit: over 5% of either, nothing is said of the change.
    """
    valid = [judgment for judgment in judgments if judgment.is_valid]
    raws = [judgment.raw for judgment in judgments if judgment.raw is not None]
    turns, categories = (sorted({getattr(j, name) for j in valid}) for name in ("turn", "category"))
    withheld = (
        ""
        if base is None
        else cut_too_often(cut, len(judgments)) or cut_too_often(base_cut, len(base), "the base's ")
    )
    return MTBenchScores(
        average=_mean(valid),
        failed=len(judgments) - len(valid),
        cut=cut,
        turns={str(turn + 1): _mean([j for j in valid if j.turn == turn]) for turn in turns},
        categories={name: _mean([j for j in valid if j.category == name]) for name in categories},
        raw=float(np.mean(raws)) if raws else None,
        change=None if base is None or withheld else rating_difference(judgments, base),
        withheld=withheld,
    )


def pairwise_scores(judgments: Sequence[PairJudgment]) -> PairwiseScores:
    """One run's wins against the base; the win rate's 95% interval is over questions."""
    valid = [judgment for judgment in judgments if judgment.outcome != "failed"]
    outcomes = [judgment.outcome for judgment in judgments]
    return PairwiseScores(
        win_rate=share_interval([j.id for j in valid], [j.score for j in valid]),
        wins=outcomes.count("win"),
        ties=outcomes.count("tie"),
        losses=outcomes.count("loss"),
        swayed=sum(judgment.is_swayed for judgment in judgments),
        failed=outcomes.count("failed"),
    )


def _mean(judgments: Sequence[Judgment]) -> Interval:
    """Mean rating; the turns of a question are not independent, so questions are the units."""
    return cluster_interval([j.id for j in judgments], [j.rating for j in judgments], RATINGS)
