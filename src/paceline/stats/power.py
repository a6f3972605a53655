"""How many units it would take to tell two runs apart."""

import math

from paceline.stats.paired import Difference


def units_needed(difference: Difference) -> float:
    """With how many units the interval would just leave zero out, if the difference stayed what it is.

    An interval shrinks with the square root of the number of units. At that number, half of all repetitions
    would tell the two apart (the power is 50%). Infinite where nothing was measured to differ, or nothing of
    the spread is known.
    """
    if difference.delta == 0 or not math.isfinite(difference.half_width):
        return math.inf
    return difference.n * (difference.half_width / abs(difference.delta)) ** 2
