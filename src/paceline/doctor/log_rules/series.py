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


def rate_times(log: Log, factor: float) -> dict[str, Value]:
    """The change of `lr` to a multiple of the log's peak; nothing where the log has no rate."""
    rates = log.lr[np.isfinite(log.lr)]
    return {"lr": float(f"{rates.max() * factor:.2g}")} if len(rates) and rates.max() > 0 else {}
