"""A training log, whoever wrote it: ours, a Hugging Face trainer_state.json, or a console with its dict lines."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.config.load import load_recipe
from paceline.errors import RunError
from paceline.runs.events import EvalEvent, Event, FailedEvent, StartEvent, TrainEvent, read_events

Array = NDArray[np.float64]

# Our name -> the names that trainers have given it.
_TRAIN = {
    "loss": ("loss", "train_loss"), "lr": ("lr", "learning_rate"), "grad_norm": ("grad_norm", "gradient_norm"), "epoch": ("epoch",),
    "accuracy": ("token_accuracy", "mean_token_accuracy"), "tokens": ("tokens", "num_tokens"), "seconds": ("seconds", "elapsed"),
    "padded": ("num_input_tokens_seen",),
}  # fmt: skip
_EVAL = {
    "loss": ("loss", "eval_loss"),
    "accuracy": ("token_accuracy", "eval_mean_token_accuracy"),
    "epoch": ("epoch",),
}


@dataclass(frozen=True)
class Log:
    """Figures by logged step; NaN where a line lacks one.

    Shapes: `step`, `loss`, `lr`, `grad_norm`, `accuracy`, `tokens`, `padded` (tokens with padding), `seconds`, `epoch` (lines,); `eval_step`, `eval_loss`,
    `eval_accuracy` (evaluations on the way and at the end,). `base_loss` and `base_accuracy` are the untrained model's on the held-out
    examples. `norms` are the last line's. `not_finite` are steps whose figures were NaN or infinite in the log itself.
    """

    step: Array
    loss: Array
    lr: Array
    grad_norm: Array
    accuracy: Array
    tokens: Array
    padded: Array
    seconds: Array
    epoch: Array
    eval_step: Array
    eval_loss: Array
    eval_accuracy: Array
    base_loss: float | None = None
    base_accuracy: float | None = None
    norms: dict[str, Any] = field(default_factory=dict)
    not_finite: list[int] = field(default_factory=list)
    total_steps: int | None = None
    batch_size: int | None = None

    def __len__(self) -> int:
        return len(self.step)

    @property
    def gain(self) -> float:
        """Share by which the loss fell: the held-out loss from the base's to the last where both are known, else the mean of the last third of the
        lines against the first third; 0 without any."""
        held_out = self.eval_loss[np.isfinite(self.eval_loss)]
        if self.base_loss is not None and len(held_out):
            return float(1 - held_out[-1] / self.base_loss)
        losses = self.loss[np.isfinite(self.loss)]
        third = len(losses) // 3
        return float(1 - losses[-third:].mean() / losses[:third].mean()) if third else 0.0

    @property
    def nothing_learned(self) -> bool:
        """Whether the loss has hardly moved. Held-out losses have no noise of their own, so half a percent counts; over training lines, two do."""
        measured = self.base_loss is not None and bool(np.isfinite(self.eval_loss).any())
        return len(self) >= 5 and abs(self.gain) < (0.005 if measured else 0.02)


def read_log(path: Path) -> list[tuple[str, Log]]:
    """(name, log) of every run at a path.

    Raises:
        RunError: nothing there that is a log; a file that cannot be read, with where.
    """
    if path.is_file():
        return [(path.stem, _read_file(path))]
    if not path.is_dir():
        raise RunError(f"{path}: no such file or directory")
    if (path / "events.jsonl").is_file():
        return [(path.name, _read_run(path))]
    runs = sorted(child for child in path.iterdir() if (child / "events.jsonl").is_file())
    if runs:
        return [(run.name, _read_run(run)) for run in runs]
    states = sorted(path.rglob("trainer_state.json"), key=_checkpoint_step)
    if states:
        return [(path.name, _read_file(states[-1]))]
    raise RunError(
        f"{path}: neither a run (events.jsonl), a study, nor an output directory with a trainer_state.json"
    )


def _checkpoint_step(path: Path) -> float:
    found = re.search(r"checkpoint-(\d+)", str(path))
    return int(found[1]) if found else math.inf  # the one beside the checkpoints is the last


def _read_run(folder: Path) -> Log:
    recipe = load_recipe(folder / "recipe.yaml") if (folder / "recipe.yaml").is_file() else None
    return log_of_events(read_events(folder / "events.jsonl"), recipe.final_batch_size if recipe else None)


def log_of_events(events: Iterable[Event], batch_size: int | None) -> Log:
    """The log that our own events make."""
    builder = LogBuilder()
    for event in events:
        builder.event(event)
    return builder.log(batch_size)


def _read_file(path: Path) -> Log:
    with path.open(errors="replace") as file:
        head = file.read(4096).lstrip()
    if path.suffix == ".json" or (head.startswith("{") and '"log_history"' in head):
        return _read_state(path)
    return _read_console(path)


def _read_state(path: Path) -> Log:
    """transformers' trainer_state.json; its NaN and Infinity literals are read as Python's json reads them."""
    try:
        state = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise RunError(
            f"{path} line {error.lineno} column {error.colno}: broken JSON ({error.msg}); the file may have been cut off while it was written"
        ) from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        raise RunError(f"{path}: no `log_history` in it; expected transformers' trainer_state.json")
    builder = LogBuilder()
    for entry in history:
        if isinstance(entry, dict):
            builder.any(entry)
    total, batch = state.get("max_steps"), state.get("train_batch_size")
    builder.total_steps = int(total) if isinstance(total, int) and total > 0 else None
    return builder.log(batch_size=batch if isinstance(batch, int) else None)


def _read_console(path: Path) -> Log:
    """Lines that hold a dict with figures, as transformers and TRL print them; everything else is passed over, a line at a time."""
    builder = LogBuilder()
    with path.open(errors="replace") as file:
        for entry in _dict_lines(file):
            builder.any(entry)
    if not builder.trained and not builder.evaluated:
        raise RunError(
            f"{path}: no line with a dict of figures ({{'loss': …}}); expected a trainer's console log or a trainer_state.json"
        )
    return builder.log()


_LONGEST_LINE = 100_000


def _dict_lines(file: Any) -> Iterator[dict[str, Any]]:
    """Reads at most a bounded part of each line: progress bars write lines of any length."""
    while line := file.readline(_LONGEST_LINE):
        for found in re.finditer(r"\{[^{}]*\}", line):
            if "loss" not in found[0]:
                continue
            text = (
                re.sub(r"\b(nan|inf)\b", r"'\1'", found[0], flags=re.IGNORECASE)
                if re.search(r"[:\s-](nan|inf)\b", found[0], re.IGNORECASE)
                else found[0]
            )
            try:
                entry = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                continue
            if isinstance(entry, dict):
                yield entry


def _entry(event: TrainEvent | EvalEvent) -> dict[str, Any]:
    """An event as a line of a log: what it does not hold is left out."""
    return event.model_dump(exclude_none=True)


def _number(value: Any) -> float:
    """A figure as a number; newer trainers print theirs as text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


_REST = ("base_loss", "base_accuracy", "norms", "not_finite", "total_steps", "batch_size")


# Lines kept of a long log; beyond that every second one goes, as often as need be.
_MOST_LINES = 40_000


class LogBuilder:
    """Collects lines into a `Log`, in bounded memory."""

    def __init__(self) -> None:
        self.trained: list[dict[str, float]] = []
        self._seen, self._stride = 0, 1
        self.evaluated: list[dict[str, float]] = []
        self.not_finite: list[int] = []
        self.norms: dict[str, Any] = {}
        self.total_steps: int | None = None
        self.base_loss: float | None = None
        self.base_accuracy: float | None = None

    def event(self, event: Event) -> bool:
        """One of our own events; whether it says anything."""
        match event:
            case StartEvent():
                self.total_steps = event.total_steps
            case TrainEvent():
                self.train(_entry(event))
            case FailedEvent():
                self.not_finite.append(event.step)
            case EvalEvent(name="base"):
                self.base_loss, self.base_accuracy = event.loss, event.token_accuracy
            case EvalEvent(name="eval" | "final"):
                self.evaluation(_entry(event))
            case _:
                return False
        return True

    def any(self, entry: dict[str, Any]) -> None:
        """A line of a trainer that puts everything into one list: evaluations are the ones with eval_loss."""
        if "eval_loss" in entry:
            if _number(entry.get("step")) == 0:
                self.base_loss, self.base_accuracy = (
                    _number(entry["eval_loss"]),
                    _number(entry.get("eval_mean_token_accuracy")),
                )
            else:
                self.evaluation(entry)
        elif "loss" in entry:
            self.train(entry)

    def train(self, entry: dict[str, Any]) -> None:
        line = self._line(entry, _TRAIN)
        line["step"] = _number(entry.get("step", self._seen + 1))
        told = [name for name in ("loss", "grad_norm") if entry.get(name) is not None]
        if entry.get("finite") is False or not all(math.isfinite(line[name]) for name in told):
            self.not_finite.append(int(line["step"]))
        self.norms = entry.get("norms", self.norms)
        self._seen += 1
        if self._seen % self._stride == 0:
            self.trained.append(line)
        if len(self.trained) > _MOST_LINES:
            self.trained, self._stride = self.trained[1::2], 2 * self._stride

    def evaluation(self, entry: dict[str, Any]) -> None:
        line = self._line(entry, _EVAL)
        line["step"] = _number(entry.get("step", self.trained[-1]["step"] if self.trained else 0))
        self.evaluated.append(line)
        del self.evaluated[:-_MOST_LINES]

    @staticmethod
    def _line(entry: dict[str, Any], names: dict[str, tuple[str, ...]]) -> dict[str, float]:
        return {
            ours: next((_number(entry[name]) for name in theirs if entry.get(name) is not None), math.nan)
            for ours, theirs in names.items()
        }

    def log(self, batch_size: int | None = None) -> Log:
        def column(lines: list[dict[str, float]], name: str) -> Array:
            return np.asarray([line[name] for line in lines], dtype=np.float64)

        trained = {
            name: column(self.trained, name)
            for name in (
                "step",
                "loss",
                "lr",
                "grad_norm",
                "accuracy",
                "tokens",
                "padded",
                "seconds",
                "epoch",
            )
        }
        evaluated = {f"eval_{name}": column(self.evaluated, name) for name in ("step", "loss", "accuracy")}
        rest = (
            self.base_loss,
            self.base_accuracy,
            self.norms,
            sorted(set(self.not_finite)),
            self.total_steps,
            batch_size,
        )
        return Log(**trained, **evaluated, **dict(zip(_REST, rest, strict=True)))  # type: ignore[arg-type]
