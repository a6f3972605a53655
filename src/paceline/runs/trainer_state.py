"""A run's history as transformers' `trainer_state.json`, so that other tools can read it."""

from collections.abc import Iterable
from pathlib import Path

from paceline.runs.events import EvalEvent, Event, TrainEvent
from paceline.runs.files import JsonObject, write_json

_TRAIN = {
    "loss": "loss",
    "lr": "learning_rate",
    "grad_norm": "grad_norm",
    "token_accuracy": "mean_token_accuracy",
    "tokens": "num_tokens",
}
_EVAL = {"loss": "eval_loss", "token_accuracy": "eval_mean_token_accuracy", "seconds": "eval_runtime"}


def write_trainer_state(events: Iterable[Event], target: Path, max_steps: int, epochs: float) -> None:
    """Writes the logged steps and evaluations under the names that transformers' Trainer gives them."""
    history: list[JsonObject] = []
    best: float | None = None
    for event in events:
        if isinstance(event, TrainEvent | EvalEvent):
            names = _TRAIN if isinstance(event, TrainEvent) else _EVAL
            figures = {theirs: getattr(event, ours) for ours, theirs in names.items()}
            history.append({"step": event.step, "epoch": event.epoch, **figures})
        if isinstance(event, EvalEvent) and (best is None or event.loss < best):
            best = event.loss
    last = history[-1] if history else {"step": 0, "epoch": 0.0}
    state = {
        "best_metric": best,
        "epoch": last["epoch"],
        "global_step": last["step"],
        "max_steps": max_steps,
        "num_train_epochs": epochs,
        "log_history": history,
    }
    write_json(target, state)
