"""Finds the logs at a path and reads each by its kind."""

from __future__ import annotations

import math
import re
from pathlib import Path

from paceline.doctor.logs.console import read_console
from paceline.doctor.logs.log import Log
from paceline.doctor.logs.ours import read_run
from paceline.doctor.logs.trainer_state import read_trainer_state
from paceline.errors import RunError


def read_log(path: Path) -> list[tuple[str, Log]]:
    """(name, log) of every run at a path: a run or study, a trainer's output directory, or one log file.

    Raises:
        RunError: nothing there that is a log; a file that cannot be read, with where.
    """
    if path.name == "events.jsonl" and path.is_file():
        return [(path.resolve().parent.name, read_run(path.parent))]
    if path.is_file():
        return [(path.stem, _read_file(path))]
    if not path.is_dir():
        raise RunError(f"{path}: no such file or directory")
    if (path / "events.jsonl").is_file():
        return [(path.resolve().name, read_run(path))]
    runs = sorted(child for child in path.iterdir() if (child / "events.jsonl").is_file())
    if runs:
        return [(run.name, read_run(run)) for run in runs]
    states = sorted(path.rglob("trainer_state.json"), key=_checkpoint_step)
    if states:
        return [(path.resolve().name, read_trainer_state(states[-1]))]
    raise RunError(
        f"{path}: neither a run (events.jsonl), a study, nor an output directory with a trainer_state.json"
    )


def _read_file(path: Path) -> Log:
    with path.open(errors="replace") as file:
        head = file.read(4096).lstrip()
    if path.suffix == ".json" or (head.startswith("{") and '"log_history"' in head):
        return read_trainer_state(path)
    return read_console(path)


def _checkpoint_step(path: Path) -> float:
    match = re.search(r"checkpoint-(\d+)", str(path))
    return int(match[1]) if match else math.inf  # the one beside the checkpoints is the last
