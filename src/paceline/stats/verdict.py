"""The one rule that turns an interval into a verdict."""

from typing import Literal

Verdict = Literal["better", "worse", "tie"]
Better = Literal["lower", "higher"]


def verdict(low: float, high: float, better: Better) -> Verdict:
    """Better or worse only where the interval of a difference, run minus other, leaves zero out.

    Args:
        low: the interval's lower bound.
        high: its upper bound.
        better: which values of the measure are the better ones: lower for a loss, higher for a score.
    """
    if low > 0:
        return "better" if better == "higher" else "worse"
    if high < 0:
        return "better" if better == "lower" else "worse"
    return "tie"
