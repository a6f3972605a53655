"""Our own log: the typed events of a run directory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from paceline.config.load import load_recipe
from paceline.config.recipe import Recipe
from paceline.doctor.logs.log import EvalLine, Log, LogBuilder, TrainLine
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.events import (
    EvalEvent,
    Event,
    ExtendEvent,
    FailedEvent,
    FindingEvent,
    StartEvent,
    StopEvent,
    TrainEvent,
    read_events,
)

# A reason that names a figure which is not finite; runs also fail because their parent did, or on a finding.
_NOT_FINITE = re.compile(r"\b(nan|inf|not finite)\b")


def add_event(builder: LogBuilder, event: Event) -> bool:
    """Adds an event; whether it says anything that a rule reads."""
    match event:
        case StartEvent():
            builder.total_steps, builder.marginal_loss = event.total_steps, event.marginal_loss
        case ExtendEvent():
            builder.total_steps, builder.closed = event.total_steps, False
        case TrainEvent():
            builder.norms = event.norms or builder.norms
            builder.add_train(_train_line(event))
        case EvalEvent(name="base"):
            builder.base_loss, builder.base_accuracy = event.loss, event.token_accuracy
        case EvalEvent(name="eval" | "final"):
            line = EvalLine(step=event.step, loss=event.loss, accuracy=event.token_accuracy)
            builder.add_evaluation(line)
        case FindingEvent(rule="zero-gradient"):
            builder.zero_gradient.append(event.step)
        case FailedEvent() if _NOT_FINITE.search(event.reason):
            builder.not_finite.append(event.step)
        case StopEvent() if event.rule != "callback":
            builder.closed = True
            return False
        case _:
            return False
    return True


def log_of_events(events: Iterable[Event], batch_size: int | None) -> Log:
    """The log that events make."""
    builder = LogBuilder()
    for event in events:
        add_event(builder, event)
    return builder.build(batch_size)


def read_run(folder: Path) -> Log:
    """The log in a run directory; its recipe, if it is there, gives the batch size."""
    RunDirectory(folder).refuse_damaged()
    recipe = load_recipe(folder / "recipe.yaml") if (folder / "recipe.yaml").is_file() else None
    batch = noisy_batch(recipe) if recipe else None
    log = log_of_events(read_events(folder / "events.jsonl"), batch)
    if not len(log) and not len(log.eval_step) and not log.not_finite and log.base_loss is None:
        raise RunError(f"{folder / 'events.jsonl'}: no logged step and no evaluation in it")
    return replace(log, quantize=recipe.quantize if recipe else None)


def noisy_batch(recipe: Recipe) -> int:
    """Examples in a batch, or in a step where that makes up for small ones."""
    return recipe.final_batch_size if recipe.effective_batch < 16 else recipe.effective_batch


def _train_line(event: TrainEvent) -> TrainLine:
    return TrainLine(
        step=event.step,
        loss=event.loss,
        lr=event.lr,
        grad_norm=event.grad_norm,
        accuracy=event.token_accuracy,
        tokens=event.tokens,
        seconds=event.seconds,
        epoch=event.epoch,
    )
