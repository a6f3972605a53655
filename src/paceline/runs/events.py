"""A run's log: one JSON line an event, and the same history in Hugging Face's form."""

import json
import math
import os
from pathlib import Path
from typing import Any

from paceline.runs.files import write_json


class EventLog:
    """events.jsonl, append-only while a run goes on; a resumed run first cuts off what its checkpoint had not seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab")

    def write(self, event: str, **fields: Any) -> None:
        """Adds one line. Numbers that are not finite are written as null beside `"finite": false`."""
        clean = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in fields.items()
        }
        if any(clean[key] is None and fields[key] is not None for key in fields):
            clean["finite"] = False
        self._file.write((json.dumps({"event": event, **clean}) + "\n").encode())
        self._file.flush()

    def offset(self) -> int:
        """Bytes written so far, safe on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def truncate(self, offset: int) -> None:
        """Forgets all after `offset` bytes."""
        self._file.truncate(offset)
        self._file.seek(offset)

    def close(self) -> None:
        self._file.close()


def read_events(path: Path) -> list[dict[str, Any]]:
    """All whole lines of an event log; a torn last line (the run was killed while writing) is left out."""
    events = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return events


_HF_NAMES = {
    "train": {
        "loss": "loss",
        "lr": "learning_rate",
        "grad_norm": "grad_norm",
        "token_accuracy": "mean_token_accuracy",
        "tokens": "num_tokens",
    },
    "eval": {"loss": "eval_loss", "token_accuracy": "eval_mean_token_accuracy", "seconds": "eval_runtime"},
}


def write_trainer_state(events: Path, target: Path, max_steps: int, epochs: float) -> None:
    """Writes the history as transformers' `trainer_state.json`, so that other tools can read it."""
    history, step, best = [], 0, None
    for event in read_events(events):
        names = _HF_NAMES.get(event["event"])
        if names is None:
            continue
        step = event["step"]
        history.append(
            {
                "step": step,
                "epoch": event["epoch"],
                **{names[key]: event[key] for key in names if key in event},
            }
        )
        if event["event"] == "eval" and event["loss"] is not None and (best is None or event["loss"] < best):
            best = event["loss"]
    epoch = history[-1]["epoch"] if history else 0.0
    write_json(
        target,
        {
            "best_metric": best,
            "epoch": epoch,
            "global_step": step,
            "max_steps": max_steps,
            "num_train_epochs": epochs,
            "log_history": history,
        },
    )
