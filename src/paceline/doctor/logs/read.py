"""Finds the logs at a path and reads each by its kind."""

from __future__ import annotations

import math
import re
from pathlib import Path

from paceline.doctor.logs.console import open_text, read_console, read_csv
from paceline.doctor.logs.log import Log
from paceline.doctor.logs.ours import read_run
from paceline.doctor.logs.trainer_state import read_trainer_state
from paceline.errors import RunError
from paceline.runs.files import parse_json

# Where trainers write their figures beside, or without, a trainer_state.json: LLaMA-Factory, ms-swift,
# torchtune, Lightning.
_LOG_FILES = ("trainer_log.jsonl", "logging.jsonl", "log_*.txt", "metrics.csv")


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
    if found := _trainers_logs(path):
        return found
    raise RunError(
        f"{path}: neither a run (events.jsonl), a study, nor an output directory with a trainer_state.json "
        f"or another trainer's log ({', '.join(_LOG_FILES)})"
    )


def _trainers_logs(path: Path) -> list[tuple[str, Log]]:
    """One log for every output directory of a trainer at or below a path, by its name."""
    states: dict[Path, list[Path]] = {}
    for state in path.rglob("trainer_state.json"):
        states.setdefault(_output_directory(state), []).append(state)
    files: dict[Path, Path] = {run: max(own, key=_checkpoint_step) for run, own in states.items()}
    for pattern in _LOG_FILES:
        for file in sorted(path.rglob(pattern)):
            files.setdefault(file.parent, file)
    root = path.resolve()
    return [(_name(run.resolve(), root), _read_file(file)) for run, file in sorted(files.items())]


def _name(run: Path, root: Path) -> str:
    return root.name if run == root else str(run.relative_to(root))


def _output_directory(state: Path) -> Path:
    """The folder that a run writes to: the one above its checkpoints."""
    folder = state.parent
    return folder.parent if re.fullmatch(r"(checkpoint|step)[-_]?\d+", folder.name) else folder


def _read_file(path: Path) -> Log:
    with open_text(path) as file:
        head = file.read(4096).lstrip()
    if path.suffix == ".csv":
        return read_csv(path)
    whole = path.suffix == ".json" and not _is_a_line(head)
    if whole or (head.startswith("{") and '"log_history"' in head):
        return read_trainer_state(path)
    return read_console(path)


def _is_a_line(head: str) -> bool:
    """Whether a file begins with a whole JSON object on its first line, which is not a trainer's state."""
    try:
        first = parse_json(head.splitlines()[0]) if head else None
    except ValueError:
        return False
    return isinstance(first, dict) and "log_history" not in first


def _checkpoint_step(path: Path) -> float:
    match = re.search(r"checkpoint-(\d+)", str(path))
    return int(match[1]) if match else math.inf  # the one beside the checkpoints is the last
