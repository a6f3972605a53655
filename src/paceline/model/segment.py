"""The rows of a packed batch that are one run's."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.model.adapter import Adapter


@dataclass(frozen=True)
class Segment:
    """The tokens `start:stop` of a packed batch: consecutive sequences of one run.

    `adapter` is None for tokens that see the bare base. `dropout_key` makes the dropout masks; None while
    evaluating. `first_row` is the number that the first of them has among the tokens of its run's step.
    """

    start: int
    stop: int
    adapter: Adapter | None
    dropout_key: tuple[int, ...] | None = None
    first_row: int = 0
