"""Training curves, thinned out so that a page with sixty runs opens at once."""

from __future__ import annotations

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
    kept = thin([[line.get("loss"), line.get("grad_norm")] for line in run.train], points)
    train = {column: [run.train[i].get(column) for i in kept] for column in _COLUMNS}
    last: dict[str, Any] = {"tokens": 0, "seconds": 0.0}
    held_out: dict[str, list[Any]] = {"step": [], "tokens": [], "seconds": [], "loss": []}
    lines = iter(run.train)
    line = next(lines, None)
    for event in run.evals:
        while line is not None and line["step"] <= event["step"]:
            last, line = line, next(lines, None)
        for column, value in (
            ("step", event["step"]),
            ("tokens", last["tokens"]),
            ("seconds", last["seconds"]),
            ("loss", event["loss"]),
        ):
            held_out[column].append(value)
    return {"name": run.name, "train": train, "eval": held_out}


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
