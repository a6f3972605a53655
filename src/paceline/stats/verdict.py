"""The one rule that turns an interval into a verdict."""

from typing import Literal

Verdict = Literal["better", "worse", "tie", "differ"]
Better = Literal["lower", "higher"]


def verdict(low: float, high: float, better: Better, *, covers_seeds: bool) -> Verdict:
    """Better or worse only where the interval of a difference, run minus other, leaves zero out.

    Args:
        low: the interval's lower bound.
        high: its upper bound.
        better: which values of the measure are the better ones: lower for a loss, higher for a score.
        covers_seeds: whether the interval covers the choice of training seeds. Where it does not, two
            adapters may differ, but neither recipe is better.
    """
    if not (low > 0 or high < 0):
        return "tie"
    if not covers_seeds:
        return "differ"
    return "better" if (low > 0) == (better == "higher") else "worse"
