"""What a tracker is, and which figures it gets."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias
from uuid import uuid4

from paceline.runs.events import EvalEvent, ScoreEvent, TrainEvent
from paceline.runs.files import write_whole
from paceline.training.callbacks import RunView

MeasuredEvent = TrainEvent | EvalEvent | ScoreEvent


class Tracker(Protocol):
    """One run's curves somewhere else."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Adds a point to each curve."""
        ...

    def close(self) -> None:
        """Sends what has not been sent yet."""
        ...


TrackerFactory: TypeAlias = Callable[[RunView], Tracker]
"""Opens a run's tracker, or goes on with it where the run goes on."""


def figures(event: MeasuredEvent) -> dict[str, float]:
    """An event's plain numbers as KIND/NAME, like `train/loss`.

    `update/q_proj` is ‖s·BA‖/‖W‖ over the modules of a kind. The bare base's evaluation is
    step 0 of the same curve as the run's own.
    """
    plain = {f"{event.event}/{name}": value for name, value in event.figures.items() if name != "step"}
    norms = event.norms if isinstance(event, TrainEvent) else None
    shares = {f"update/{kind}": own.update for kind, own in norms.modules.items()} if norms else {}
    return plain | {name: share for name, share in shares.items() if math.isfinite(share)}


def stable_id(file: Path, make: Callable[[], str] = lambda: uuid4().hex) -> str:
    """The id by which a tracker knows a run: made once, and kept in a file of the run directory."""
    if not file.is_file():
        write_whole(file, make())
    return file.read_text()
