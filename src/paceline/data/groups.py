"""Task groups: the phases of a curriculum."""

import numpy as np
from numpy.typing import NDArray

from paceline.data.strandset import PHASES
from paceline.errors import UserError, nearest

GROUP_OF = {task: group for group, tasks in PHASES.items() for task in tasks}
_PLACE = {group: place for place, group in enumerate(PHASES)}


def group_places(tasks: list[str]) -> NDArray[np.int64]:
    """Place of each task's group in the curriculum: understanding 0, annotation 1, generation 2; tasks of no group come last."""
    return np.asarray([_PLACE.get(GROUP_OF.get(task, ""), len(_PLACE)) for task in tasks])


def choose_tasks(tasks: list[str], wanted: list[str]) -> NDArray[np.bool_]:
    """Which examples belong to the wanted tasks or task groups.

    Raises:
        UserError: a name that is neither a task of these examples nor a group.
    """
    known = [*PHASES, *sorted(set(tasks))]
    for name in wanted:
        if name not in known:
            raise UserError(f"train_tasks: no task or group {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return np.asarray([task in wanted or GROUP_OF.get(task) in wanted for task in tasks])
