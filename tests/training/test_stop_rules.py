"""What ends a run before its last step: a loss or a score that no longer gets better."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments

from paceline.config.evaluation import InTrainingEval
from paceline.runs.events import ScoreEvent
from paceline.training.checkpoint import Progress
from paceline.training.stop_rules import BenchmarkEarlyStop, LossPatience, Stop

ARGUMENTS: Any = TrainingArguments(
    output_dir="unused", eval_strategy="steps", metric_for_best_model="loss", greater_is_better=False
)
# Differences that are no matter of rounding.
LOSSES = st.lists(st.integers(0, 20).map(lambda n: n / 8), min_size=1, max_size=12)


def recipe(patience: int | None, min_delta: float) -> Any:
    return SimpleNamespace(early_stop_patience=patience, early_stop_min_delta=min_delta)


def transformers_stop(losses: list[float], patience: int, min_delta: float) -> int | None:
    """After how many evaluations transformers' Trainer stops, as it calls the callback."""
    callback = EarlyStoppingCallback(patience, min_delta)
    state, control = TrainerState(), TrainerControl()
    for number, loss in enumerate(losses, 1):
        callback.on_evaluate(ARGUMENTS, state, control, metrics={"eval_loss": loss})
        if state.best_metric is None or loss < state.best_metric:
            state.best_metric = loss
        if control.should_training_stop:
            return number
    return None


@settings(max_examples=50, deadline=None)
@given(LOSSES, st.integers(1, 4))
def test_patience_is_that_of_transformers(losses: list[float], patience: int) -> None:
    ours = LossPatience(recipe(patience, 0.0), Progress())
    stopped = None
    for number, loss in enumerate(losses, 1):
        ours.see(loss)
        if ours.over:
            stopped = number
            break
    assert stopped == transformers_stop(losses, patience, 0.0)


@settings(max_examples=50, deadline=None)
@given(LOSSES, st.integers(1, 4), st.integers(0, 8).map(lambda n: n / 16))
def test_without_a_margin_for_so_many_evaluations_it_is_over(
    losses: list[float], patience: int, min_delta: float
) -> None:
    """Counted from the last loss that was better by the margin."""
    ours, best, since = LossPatience(recipe(patience, min_delta), Progress()), math.inf, 0
    for loss in losses:
        ours.see(loss)
        best, since = (loss, 0) if loss < best - min_delta else (best, since + 1)
        assert ours.over == (since >= patience)


def test_without_patience_it_never_is() -> None:
    progress = Progress()
    ours = LossPatience(recipe(None, 0.0), progress)
    for loss in (1.0, 2.0, 3.0):
        ours.see(loss)
    assert ours.stop is None
    assert progress == Progress()


def test_patience_goes_on_from_a_checkpoints_progress() -> None:
    progress = Progress()
    LossPatience(recipe(2, 0.0), progress).see(1.0)
    LossPatience(recipe(2, 0.0), progress).see(1.5)
    resumed = LossPatience(recipe(2, 0.0), progress)
    assert not resumed.over
    resumed.see(1.25)
    assert resumed.over


def score(value: float, name: Any = "eval") -> ScoreEvent:
    return ScoreEvent(step=1, epoch=0.1, name=name, score=value, seconds=1.0)


def watch(*scores: float, base: float | None = 5.0, **fields: Any) -> list[bool]:
    """Whether it is over after each score."""
    rule = BenchmarkEarlyStop(InTrainingEval(steps=10, **fields))
    if base is not None:
        rule.see(score(base, "base"))
    found = []
    for value in scores:
        rule.see(score(value))
        found.append(rule.stop is not None)
    return found


def test_a_score_that_gets_no_better_ends_the_run() -> None:
    assert watch(5.5, 5.52, 5.5, patience=2, min_delta=0.05) == [False, False, True]
    assert watch(5.5, 5.52, 5.6, 5.61, 5.62, patience=2, min_delta=0.05) == [False, False, False, False, True]


def test_a_score_far_under_the_bases_ends_it_at_once() -> None:
    assert watch(4.75, patience=9, floor=0.25) == [True]
    assert watch(4.76, patience=9, floor=0.25) == [False]
    assert watch(1.0, base=None, patience=9, floor=0.25) == [False], "the base was never asked"


def test_without_patience_a_score_never_ends_it() -> None:
    assert watch(1.0, 1.0, 1.0) == [False] * 3


def test_a_score_that_is_no_number_counts_for_nothing() -> None:
    assert watch(math.nan, 5.5, math.nan, 5.5, patience=1) == [False, False, False, True]


def test_checks_are_due_every_so_many_steps() -> None:
    rule = BenchmarkEarlyStop(InTrainingEval(steps=10))
    assert [step for step in range(31) if rule.due(step)] == [0, 10, 20, 30]
    nothing = BenchmarkEarlyStop(None)
    nothing.see(score(1.0))
    assert not nothing.due(10)
    assert nothing.stop is None


def test_it_says_what_was_seen() -> None:
    progress = Progress(best_loss=1.25, best_step=20, patience_loss=1.25, patience_used=3)
    seen = "eval loss had not fallen for 3 evaluations (lowest 1.2500 at step 20)"
    assert LossPatience(recipe(3, 0.0), progress).stop == Stop("early_stop_patience", seen)
    assert LossPatience(recipe(4, 0.0), progress).stop is None
    one = Progress(patience_loss=1.25, patience_used=1)
    stop = LossPatience(recipe(1, 0.01), one).stop
    assert stop is not None
    assert stop.reason == "eval loss had not fallen by 0.01 for 1 evaluation"


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([5.5, 5.5, 5.4], "the MT-Bench score had not risen for 2 checks (best 5.50 at step 1)"),
        ([5.0, 4.9], "the MT-Bench score had not risen for 2 checks (best 5.00, the base's)"),
        ([4.7], "the MT-Bench score 4.70 is 0.25 or more under the base's 5.00"),
    ],
)
def test_it_says_what_the_benchmark_gave(scores: list[float], reason: str) -> None:
    rule = BenchmarkEarlyStop(InTrainingEval(steps=1, patience=2, min_delta=0.0, floor=0.25))
    rule.see(ScoreEvent(step=0, epoch=0.0, name="base", score=5.0, seconds=1.0))
    for value in scores:
        rule.see(score(value))
    assert rule.stop == Stop("eval.mtbench.during", reason)
