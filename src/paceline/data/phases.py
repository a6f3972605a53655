"""The phases of a curriculum: named lists of tasks, in the order in which a recipe gives them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from paceline.errors import DataError, nearest

Phases = Mapping[str, Sequence[str]]


def phase_of(phases: Phases) -> dict[str, str]:
    """{task: the phase that lists it}."""
    return {task: phase for phase, tasks in phases.items() for task in tasks}


def phase_numbers(tasks: Sequence[str], phases: Phases) -> NDArray[np.int64]:
    """The number of each task's phase (tasks,), from 0 in the recipe's order; tasks of no phase come last."""
    known, number = phase_of(phases), {phase: number for number, phase in enumerate(phases)}
    return np.asarray([number.get(known.get(task, ""), len(number)) for task in tasks])


def choose_tasks(tasks: Sequence[str], chosen: Sequence[str], phases: Phases) -> NDArray[np.bool_]:
    """Which examples belong to the chosen tasks or phases (tasks,).

    Raises:
        DataError: a name that is neither a task of these examples nor a phase.
    """
    known = [*phases, *sorted(set(tasks))]
    for name in chosen:
        if name not in known:
            raise DataError(
                f"train_tasks: no task or phase {name!r}{nearest(name, known)}; there are {', '.join(known)}"
            )
    phase = phase_of(phases)
    return np.asarray([task in chosen or phase.get(task) in chosen for task in tasks])
