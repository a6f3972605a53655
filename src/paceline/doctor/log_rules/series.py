"""What several rules compute from a log's columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.doctor.finding import Value
from paceline.doctor.logs.log import Array, Log


def thin(values: Array) -> Array:
    """Means of neighbouring values, at most 400: a slope over all pairs of a long log takes gigabytes."""
    block = -(-len(values) // 400)
    whole = len(values) // block * block
    return np.asarray(values[:whole].reshape(-1, block).mean(axis=1))


def last(values: Array) -> float | None:
    """The last value that is known."""
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else None


def longest_run(flags: NDArray[np.bool_]) -> int:
    """The largest number of consecutive True."""
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


# What LoRA is usually trained with lies between these; 2e-4 is where most begin.
_LOWEST_RATE, _USUAL_RATE, _HIGHEST_RATE = 1e-5, 2e-4, 2e-3


def rate_times(log: Log, factor: float) -> dict[str, Value]:
    """The change of `lr` to a multiple of the log's peak, within what is usual for LoRA.

    Nothing where the log has no rate, or where a lower one could not be the cure.
    """
    rates = log.lr[np.isfinite(log.lr)]
    if not len(rates) or rates.max() <= 0:
        return {}
    peak = float(rates.max())
    if factor < 1:
        return {"lr": float(f"{peak * factor:.2g}")} if peak * factor >= _LOWEST_RATE else {}
    if peak * factor < _LOWEST_RATE:
        return {"lr": _USUAL_RATE}
    return {"lr": float(f"{min(peak * factor, _HIGHEST_RATE):.2g}")} if peak < _HIGHEST_RATE else {}
