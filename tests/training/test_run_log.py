"""A run's log while it trains: windows of steps, gradients of zero, findings that end a run."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paceline.runs.directory import RunDirectory
from paceline.runs.events import (
    AdapterNorms,
    DataFacts,
    Event,
    FindingEvent,
    Severity,
    StartEvent,
    TrainEvent,
    of_kind,
    read_events,
)
from paceline.runs.losses import LossSummary
from paceline.training.callbacks import Callback, RunView
from paceline.training.checkpoint import Progress
from paceline.training.order import StepPlan
from paceline.training.run_log import RunLog
from paceline.training.step import StepStats

FACTS = DataFacts(examples=9, dropped_no_assistant=0, truncated=0, answers_lost=0, train=8, eval=1)
NORMS = AdapterNorms(modules={}, layers={})


def make_log(
    folder: Path,
    progress: Progress,
    callbacks: Sequence[Callback] = (),
    logging_steps: int = 2,
    **fields: Any,
) -> RunLog:
    recipe = SimpleNamespace(logging_steps=logging_steps, on_error=fields.get("on_error", "continue"))
    run: Any = SimpleNamespace(directory=RunDirectory(folder), recipe=recipe)
    plan = StepPlan(examples=8, steps_per_epoch=4, total_steps=5, warmup_steps=0)
    return RunLog(run, progress, plan, callbacks)


def stats(step: int, loss: float = 1.0, grad_norm: float = 0.5, **terms: float) -> StepStats:
    return StepStats(
        step=step,
        loss=loss,
        grad_norm=grad_norm,
        lr=0.1 * step,
        tokens=100,
        supervised=40,
        correct=10,
        terms=terms or {"cross_entropy": loss},
        weights={"kl": 0.25},
    )


def train(log: RunLog, all_stats: Sequence[StepStats]) -> None:
    for one in all_stats:
        log.count(one)
        if log.is_due(one.step):
            log.step(one, NORMS)


def test_a_line_is_the_mean_loss_since_the_last_one_and_the_last_steps_figures(tmp_path: Path) -> None:
    log = make_log(tmp_path, Progress())
    log.begin(FACTS, 640)
    train(log, [stats(step, loss=step) for step in range(1, 6)])
    start, *steps = log.close()
    assert isinstance(start, StartEvent)
    assert (start.total_steps, start.steps_per_epoch, start.train) == (5, 4, 8)
    assert start.trainable_parameters == 640
    found = of_kind(steps, TrainEvent)
    assert [(e.step, e.loss, e.tokens, e.supervised_tokens, e.epoch) for e in found] == [
        (2, 1.5, 200, 80, 0.5),
        (4, 3.5, 400, 160, 1.0),
        (5, 5.0, 500, 200, 1.25),
    ], "every second step, and the last one"
    assert [event.token_accuracy for event in found] == [0.25] * 3
    assert found[-1] == log.last_step
    assert found[0].cross_entropy is None, "a loss of one term is not told twice"


def test_the_terms_of_a_loss_that_has_several_are_logged(tmp_path: Path) -> None:
    log = make_log(tmp_path, Progress(), logging_steps=1)
    train(log, [stats(1, cross_entropy=0.5, kl=2.0)])
    assert log.last_step is not None
    assert (log.last_step.cross_entropy, log.last_step.kl, log.last_step.kl_weight) == (0.5, 2.0, 0.25)


def test_a_window_goes_on_after_a_checkpoint(tmp_path: Path) -> None:
    progress = Progress()
    log = make_log(tmp_path, progress)
    log.begin(FACTS, 640)
    train(log, [stats(1, loss=1.0)])
    progress.events_bytes = log.offset()
    checkpoint = tmp_path / "step-1"
    checkpoint.mkdir()
    (checkpoint / "events.jsonl").write_bytes(log.until(progress.events_bytes))
    train(log, [stats(2, loss=2.0)])
    log.close()

    heard: list[Sequence[Event]] = []

    class Listener(Callback):
        def on_resume(self, run: RunView, events: Sequence[Event]) -> None:
            heard.append(events)

    resumed = Progress(
        step=1,
        tokens=100,
        window_steps=1,
        window_loss=1.0,
        window_supervised=40,
        events_bytes=progress.events_bytes,
    )
    again = make_log(tmp_path, resumed, [Listener()])
    assert [type(event) for event in again.resume(checkpoint)] == [StartEvent]
    assert len(heard) == 1
    train(again, [stats(2, loss=5.0)])
    again.close()
    assert [event.loss for event in of_kind(read_events(tmp_path / "events.jsonl"), TrainEvent)] == [3.0]


def test_a_gradient_of_zero_is_reported_once_when_it_begins(tmp_path: Path) -> None:
    log = make_log(tmp_path, Progress(), logging_steps=100)
    train(log, [stats(step, grad_norm=norm) for step, norm in enumerate((1.0, 0.0, 0.0, 1.0, 0.0), 1)])
    findings = of_kind(log.close(), FindingEvent)
    assert [(finding.rule, finding.step) for finding in findings] == [
        ("zero-gradient", 2),
        ("zero-gradient", 5),
    ]


@pytest.mark.parametrize(
    ("severity", "on_error", "fatal"),
    [
        ("error", "stop", "it diverges (r; on_error: stop)"),
        ("error", "continue", ""),
        ("warning", "stop", ""),
    ],
)
def test_an_error_ends_a_run_whose_recipe_says_so(
    severity: Severity, on_error: str, fatal: str, tmp_path: Path
) -> None:
    log = make_log(tmp_path, Progress(), on_error=on_error)
    log.finding(FindingEvent(step=1, rule="r", severity=severity, message="it diverges"))
    assert log.fatal == fatal


def test_evaluations_and_scores_say_where_the_run_was(tmp_path: Path) -> None:
    log = make_log(tmp_path, Progress(step=3))
    log.evaluation(
        "eval", LossSummary(examples=1, tokens=2, loss=0.5, perplexity=1.6, token_accuracy=1.0), 0.1
    )
    score = log.score(True, 4.5, 0.2)
    assert log.last_evaluation is not None
    assert (log.last_evaluation.step, log.last_evaluation.epoch, log.last_evaluation.name) == (
        3,
        0.75,
        "eval",
    )
    assert (score.name, score.step, log.score(False, 4.6, 0.2).name) == ("base", 3, "eval")
    assert len(log.close()) == 3


def test_callbacks_hear_of_every_step_and_of_every_event_after_it_is_written(tmp_path: Path) -> None:
    calls: list[str] = []

    class Listener(Callback):
        def on_step(self, run: RunView, stats: StepStats) -> None:
            calls.append(f"step {stats.step}")

        def on_log(self, run: RunView, event: TrainEvent) -> None:
            assert read_events(tmp_path / "events.jsonl")[-1] == event
            calls.append(f"log {event.step}")

    train(make_log(tmp_path, Progress(), [Listener()]), [stats(1), stats(2)])
    assert calls == ["step 1", "step 2", "log 2"]
