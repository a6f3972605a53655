"""transformers' trainer_state.json."""

from __future__ import annotations

from pathlib import Path

from paceline.doctor.logs.console import built, open_text
from paceline.doctor.logs.entries import add_entry
from paceline.doctor.logs.log import Log, LogBuilder
from paceline.errors import RunError
from paceline.runs.files import parse_json


def read_trainer_state(path: Path) -> Log:
    """The log in a trainer_state.json, whose NaN and Infinity are read as Python's json reads them.

    Raises:
        RunError: it cannot be read, is broken, is something else, or holds no logged step.
    """
    try:
        with open_text(path) as file:
            state = parse_json(file.read())
    except ValueError as error:
        raise RunError(
            f"{path}: broken JSON ({error}); the file may have been cut off while it was written"
        ) from error
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        raise RunError(f"{path}: no `log_history` in it; expected transformers' trainer_state.json")
    builder = LogBuilder()
    for entry in history:
        if not (isinstance(entry, dict) and add_entry(builder, entry)):
            builder.add_unread(str(entry))
    total, batch_size = state.get("max_steps"), state.get("train_batch_size")
    builder.total_steps = total if isinstance(total, int) and total > 0 else None
    reached = state.get("global_step")
    builder.closed |= (
        isinstance(reached, int) and builder.total_steps is not None and reached >= builder.total_steps
    )
    return built(builder, path, batch_size if isinstance(batch_size, int) else None)
