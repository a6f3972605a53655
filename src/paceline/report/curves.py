"""Training curves, thinned out so that a page with sixty runs opens at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paceline.report.collect import RunFacts

# Figures by column: step, tokens, seconds, loss, …
Columns = dict[str, list[float | None]]

_COLUMNS = ("step", "tokens", "seconds", "loss", "lr", "grad_norm")
# Of one curve, and of all curves of a chart: a browser draws that many in under a second.
_POINTS, _ALL_POINTS = 400, 8000
_FEWEST_POINTS = 40


@dataclass(frozen=True, kw_only=True)
class RunCurves:
    """One run's logged figures, and its held-out evaluations on the same axes. The page reads these names."""

    name: str
    train: Columns
    eval: Columns


def curves(runs: Sequence[RunFacts]) -> list[RunCurves]:
    """The curves of every run, thinned out."""
    points = min(_POINTS, max(_FEWEST_POINTS, _ALL_POINTS // max(1, len(runs))))
    return [RunCurves(name=run.name, train=_train(run, points), eval=_eval(run)) for run in runs]


def _train(run: RunFacts, points: int) -> Columns:
    kept = thin([[line.loss, line.grad_norm] for line in run.train], points)
    return {column: [_plain(getattr(run.train[i], column)) for i in kept] for column in _COLUMNS}


def _eval(run: RunFacts) -> Columns:
    """Evaluations with the tokens and seconds of the last logged step before each."""
    columns: Columns = {"step": [], "tokens": [], "seconds": [], "loss": []}
    for event in run.evals:
        before = next((line for line in reversed(run.train) if line.step <= event.step), None)
        columns["step"].append(event.step)
        columns["tokens"].append(before.tokens if before else 0)
        columns["seconds"].append(before.seconds if before else 0.0)
        columns["loss"].append(_plain(event.loss))
    return columns


def _plain(value: float | None) -> float | None:
    """A number as JSON can hold it."""
    return value if value is not None and math.isfinite(value) else None


def thin(rows: Sequence[Sequence[float | None]], points: int) -> list[int]:
    """Indices of the rows to draw: all if they are few, else the extremes of every stretch, and both ends.

    A stretch's extremes are the lowest and the highest value of each column.
    """
    if len(rows) <= points:
        return list(range(len(rows)))
    values = np.asarray(
        [[np.nan if value is None else value for value in row] for row in rows], dtype=np.float64
    )
    kept = {0, len(rows) - 1}
    for stretch in np.array_split(np.arange(len(rows)), points // (2 * values.shape[1])):
        for column in values[stretch].T:
            if not np.isnan(column).all():
                kept |= {int(stretch[np.nanargmin(column)]), int(stretch[np.nanargmax(column)])}
    return sorted(kept)
