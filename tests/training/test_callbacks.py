"""Callbacks: each event goes to the method that is for its kind."""

from typing import Any

import pytest

from paceline.runs.events import (
    EvalEvent,
    Event,
    FailedEvent,
    FindingEvent,
    ScoreEvent,
    StartEvent,
    TrainEvent,
)
from paceline.training.callbacks import Callback, dispatch

STEP = TrainEvent(
    step=1, epoch=0.1, loss=2.0, lr=1e-4, token_accuracy=0.5, tokens=9, supervised_tokens=5, seconds=1.0
)
EVALUATION = EvalEvent(
    step=1,
    epoch=0.1,
    name="eval",
    seconds=1.0,
    examples=2,
    tokens=9,
    loss=2.0,
    perplexity=7.4,
    token_accuracy=0.5,
)
START = StartEvent(
    examples=9,
    dropped_no_assistant=0,
    truncated=0,
    answers_lost=0,
    train=8,
    eval=1,
    total_steps=2,
    steps_per_epoch=2,
)
SCORE = ScoreEvent(step=1, epoch=0.1, name="eval", score=5.0, seconds=1.0)
FINDING = FindingEvent(step=1, rule="r", severity="note", message="m")
FAILED = FailedEvent(step=1, reason="r")


class Recorder(Callback):
    """Notes which of its methods were called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, Any]] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda run, event: self.calls.append((name, run, event))
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    ("event", "method"),
    [
        (START, "on_start"),
        (STEP, "on_log"),
        (EVALUATION, "on_evaluation"),
        (SCORE, "on_score"),
        (FINDING, "on_finding"),
    ],
)
def test_an_event_goes_to_its_own_method_of_every_callback(event: Event, method: str) -> None:
    callbacks = [Recorder(), Recorder()]
    run: Any = object()
    dispatch(callbacks, run, event)
    assert [callback.calls for callback in callbacks] == [[(method, run, event)]] * 2


def test_a_failure_is_told_by_the_end_of_the_run() -> None:
    callback = Recorder()
    run: Any = object()
    dispatch([callback], run, FAILED)
    assert callback.calls == []


def test_a_callback_that_overrides_nothing_does_nothing() -> None:
    run: Any = object()
    for event in (START, STEP, EVALUATION, SCORE, FINDING, FAILED):
        dispatch([Callback()], run, event)
    assert Callback().wants_stop() is False
