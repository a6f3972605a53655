"""Training curves, thinned out so that a page with sixty runs opens at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from paceline.report.collect import RunFacts

_COLUMNS = ("step", "tokens", "seconds", "loss", "lr", "grad_norm")
# Of one curve, and of all curves of a chart: a browser draws that many in under a second.
_POINTS, _ALL_POINTS = 400, 8000


def curves(runs: list[RunFacts]) -> list[dict[str, Any]]:
    """Every run's logged figures by column, thinned out, and its evaluations on the same axes."""
    points = min(_POINTS, max(40, _ALL_POINTS // max(1, len(runs))))
    return [_curves(run, points) for run in runs]


def _curves(run: RunFacts, points: int) -> dict[str, Any]:
    kept = thin([[line.loss, line.grad_norm] for line in run.train], points)
    train = {column: [_plain(getattr(run.train[i], column)) for i in kept] for column in _COLUMNS}
    tokens, seconds = 0, 0.0
    held_out: dict[str, list[Any]] = {"step": [], "tokens": [], "seconds": [], "loss": []}
    lines = iter(run.train)
    line = next(lines, None)
    for event in run.evals:
        while line is not None and line.step <= event.step:
            tokens, seconds, line = line.tokens, line.seconds, next(lines, None)
        for column, value in (
            ("step", event.step),
            ("tokens", tokens),
            ("seconds", seconds),
            ("loss", event.loss),
        ):
            held_out[column].append(_plain(value))
    return {"name": run.name, "train": train, "eval": held_out}


def _plain(value: float | None) -> float | None:
    """A number as JSON can hold it."""
    return value if value is not None and math.isfinite(value) else None


def thin(rows: list[list[float | None]], points: int) -> list[int]:
    """Places of the rows to draw: all if they are few, else the lowest and highest of each column in every stretch, and both ends."""
    if len(rows) <= points:
        return list(range(len(rows)))
    values = np.asarray(
        [[np.nan if value is None else value for value in row] for row in rows], dtype=np.float64
    )
    kept = {0, len(rows) - 1}
    for stretch in np.array_split(np.arange(len(rows)), points // (2 * values.shape[1])):
        part = values[stretch]
        for column in part.T:
            if not np.isnan(column).all():
                kept |= {int(stretch[np.nanargmin(column)]), int(stretch[np.nanargmax(column)])}
    return sorted(kept)
