"""Figures as trackers hold them, read back: one point for each step of each run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# What trackers write beside figures.
_NOT_FIGURES = {"step", "timestamp", "_step", "_timestamp", "_runtime", "_wandb"}


@dataclass(frozen=True)
class Point:
    """What a run logged at a step: {KIND/NAME: number}."""

    run: str
    step: float | None
    figures: dict[str, float]


def point(run: str, step: Any, values: Mapping[str, Any]) -> Point | None:
    """A point of the plain numbers among some values; None: there are none."""
    figures = {
        name: float(value)
        for name, value in values.items()
        if name not in _NOT_FIGURES and isinstance(value, int | float) and not isinstance(value, bool)
    }
    number = isinstance(step, int | float) and math.isfinite(step)
    return Point(run, step if number else None, figures) if figures else None


def points(run: str, entries: Iterable[Mapping[str, Any]]) -> list[Point]:
    """The points of a run's log, in which each entry has its `step`."""
    found = (point(run, entry.get("step", entry.get("_step")), entry) for entry in entries)
    return [one for one in found if one is not None]
