"""transformers' trainer_state.json, and the names that trainers give their figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from paceline.doctor.logs.log import EvalLine, Log, LogBuilder, TrainLine
from paceline.errors import RunError

Entry: TypeAlias = Mapping[str, Any]
"""A line of another trainer's log, as it was parsed."""


def read_trainer_state(path: Path) -> Log:
    """The log in a trainer_state.json, whose NaN and Infinity are read as Python's json reads them.

    Raises:
        RunError: it cannot be read, is broken or is something else.
    """
    try:
        state = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise RunError(
            f"{path} line {error.lineno} column {error.colno}: broken JSON ({error.msg}); "
            "the file may have been cut off while it was written"
        ) from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        raise RunError(f"{path}: no `log_history` in it; expected transformers' trainer_state.json")
    builder = LogBuilder()
    for entry in history:
        if isinstance(entry, dict):
            add_entry(builder, entry)
    total, batch_size = state.get("max_steps"), state.get("train_batch_size")
    builder.total_steps = total if isinstance(total, int) and total > 0 else None
    return builder.build(batch_size if isinstance(batch_size, int) else None)


def add_entry(builder: LogBuilder, entry: Entry) -> None:
    """Adds a line of a trainer that logs everything in one list: evaluations are those with `eval_loss`."""
    step = _figure(entry, "step")
    step = step if step is not None and math.isfinite(step) else None
    if "eval_loss" in entry:
        loss, accuracy = _figure(entry, "eval_loss"), _figure(entry, "eval_mean_token_accuracy")
        if step == 0:
            builder.base_loss, builder.base_accuracy = loss, accuracy
        else:
            builder.add_evaluation(EvalLine(step=step, loss=loss, accuracy=accuracy))
    elif "loss" in entry:
        builder.add_train(
            TrainLine(
                step=step,
                loss=_figure(entry, "loss"),
                lr=_figure(entry, "learning_rate", "lr"),
                grad_norm=_figure(entry, "grad_norm", "gradient_norm"),
                accuracy=_figure(entry, "mean_token_accuracy", "token_accuracy"),
                tokens=_figure(entry, "num_tokens", "tokens"),
                padded=_figure(entry, "num_input_tokens_seen"),
                seconds=_figure(entry, "elapsed", "seconds"),
                epoch=_figure(entry, "epoch"),
            )
        )


def _figure(entry: Entry, *names: str) -> float | None:
    """The first figure of these names, also one printed as text; NaN for what is no number, None for none."""
    for name in names:
        if (value := entry.get(name)) is not None:
            try:
                return float(value)
            except (TypeError, ValueError):
                return math.nan
    return None
