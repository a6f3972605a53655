"""Training curves, smoothed and thinned out so that a page with sixty runs opens at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.report.by_recipe import RecipeRuns
from paceline.report.collect import RunFacts

# Figures by column: step, tokens, seconds, loss, …
Columns = dict[str, list[float | None]]

_COLUMNS = ("step", "tokens", "seconds", "loss", "token_accuracy", "lr", "grad_norm")
# Those that held-out evaluations have too.
HELD_OUT = ("loss", "token_accuracy")
# Of one curve, and of all curves of a chart: a browser draws that many in under a second.
_POINTS, _ALL_POINTS = 400, 8000
_FEWEST_POINTS, _SMOOTH_POINTS = 40, 150
# A smoothed curve is a running mean over this share of the log; shorter logs are smooth enough as they are.
_WINDOW, _SHORT = 1 / 15, 20


@dataclass(frozen=True, kw_only=True)
class RecipeCurves:
    """What a recipe's runs logged, the same smoothed and averaged over seeds, and held-out evaluations.

    The page reads these names.
    """

    name: str
    runs: list[Columns]
    smooth: Columns
    eval: Columns


def curves(recipes: Sequence[RecipeRuns]) -> list[RecipeCurves]:
    """The curves of every recipe, thinned out."""
    runs = sum(len(recipe.runs) for recipe in recipes)
    points = min(_POINTS, max(_FEWEST_POINTS, _ALL_POINTS // max(1, runs)))
    return [
        RecipeCurves(
            name=recipe.name,
            runs=[_logged(run, points) for run in recipe.runs],
            smooth=_spread_out(_mean([_smooth(run) for run in recipe.runs])),
            eval=_mean([_eval(run) for run in recipe.runs]),
        )
        for recipe in recipes
    ]


def _logged(run: RunFacts, points: int) -> Columns:
    kept = [run.train[i] for i in thin([[line.loss, line.grad_norm] for line in run.train], points)]
    return {column: [_plain(getattr(line, column)) for line in kept] for column in _COLUMNS}


def _smooth(run: RunFacts) -> Columns:
    """The log with running means of what is noisy."""
    columns: Columns = {column: [getattr(line, column) for line in run.train] for column in _COLUMNS}
    for column in ("loss", "token_accuracy", "grad_norm"):
        values = [np.nan if value is None else value for value in columns[column]]
        columns[column] = [_plain(value) for value in smoothed(np.asarray(values, dtype=np.float64)).tolist()]
    return columns


def _mean(runs: Sequence[Columns]) -> Columns:
    """The mean over runs, at the steps that all of them have."""
    if len(runs) == 1:
        return runs[0]
    places = [{step: place for place, step in enumerate(run["step"])} for run in runs]
    shared = [step for step in places[0] if all(step in own for own in places)] if runs else []
    return {
        column: [
            _plain_mean([run[column][own[step]] for run, own in zip(runs, places, strict=True)])
            for step in shared
        ]
        for column in (runs[0] if runs else _COLUMNS)
    }


def _plain_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _spread_out(columns: Columns) -> Columns:
    """Some of the points, evenly spaced."""
    count = len(columns["step"])
    if count <= _SMOOTH_POINTS:
        return columns
    kept = np.linspace(0, count - 1, _SMOOTH_POINTS).astype(int).tolist()
    return {column: [values[i] for i in kept] for column, values in columns.items()}


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A centred running mean, its window cut off at both ends; values that are not finite are left out."""
    if len(values) < _SHORT:
        return values
    window = np.ones(2 * max(1, round(_WINDOW * len(values) / 2)) + 1)
    finite = np.isfinite(values)
    total = np.convolve(np.where(finite, values, 0.0), window, mode="same")
    count = np.convolve(finite.astype(np.float64), window, mode="same")
    return np.asarray(np.where(count > 0.5, total / np.maximum(count, 1.0), np.nan))


def _eval(run: RunFacts) -> Columns:
    """Evaluations with the tokens and seconds of the last logged step before each."""
    columns: Columns = {column: [] for column in ("step", "tokens", "seconds", *HELD_OUT)}
    for event in run.evals:
        before = next((line for line in reversed(run.train) if line.step <= event.step), None)
        columns["step"].append(event.step)
        columns["tokens"].append(before.tokens if before else 0)
        columns["seconds"].append(before.seconds if before else 0.0)
        for column in HELD_OUT:
            columns[column].append(_plain(getattr(event, column)))
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
