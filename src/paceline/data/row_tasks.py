"""The tasks of rows, told before anything is tokenized."""

import numpy as np

from paceline.config.data import Data
from paceline.data.formats.registry import recognise
from paceline.data.formats.rows import read_row, renamed
from paceline.data.mixture import SampledSource, choose_rows
from paceline.errors import DataError


def training_tasks(data: Data) -> list[str]:
    """The task of every row that is not held out, as `split` would hold them out if no row were a copy.

    Rows that cannot be read are left out.

    Raises:
        DataError: as `choose_rows`.
        ServiceError: the hub cannot be reached.
    """
    found: list[str] = []
    for part in choose_rows(data):
        tasks = _tasks(part)
        place = np.arange(len(tasks))
        ratio = data.eval_ratio
        held_out = np.floor((place + 1) * ratio + 1e-9) > np.floor(place * ratio + 1e-9)
        found += [task for task, out in zip(tasks, held_out, strict=True) if not out]
    return found


def _tasks(part: SampledSource) -> list[str]:
    names = dict(part.origin.columns)
    columns = renamed(part.rows.columns, names, part.origin.source)
    row_format = recognise(columns, part.origin.format, part.origin.source)
    tasks = []
    for row in part.rows.read(part.picked):
        try:
            tasks.append(read_row(row_format, row, names)[1])
        except (DataError, KeyError, TypeError, AttributeError, ValueError):
            continue  # reading the data says which rows these are
    return tasks
