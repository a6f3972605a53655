"""One run between its steps and inside them, driven by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import some_inputs
from paceline.model.base import Base
from paceline.runs.directory import RunDirectory
from paceline.runs.events import (
    EvalEvent,
    FailedEvent,
    FindingEvent,
    StartEvent,
    StopEvent,
    TrainEvent,
    read_events,
)
from paceline.runs.losses import ExampleLosses
from paceline.training.distributed import DistributedContext
from paceline.training.heldout import held_out_losses
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.prepare import Prepared, Preparer
from paceline.training.run import Surroundings, TrainingRun
from paceline.training.step import StepStats, forward_backward

FIELDS: dict[str, Any] = {"max_steps": 4, "save_steps": 2, "logging_steps": 1, "lr": 1e-3}


class Runs:
    """Makes runs of the small recipe with some fields changed."""

    def __init__(self, base: Base, prepared: Prepared, folder: Path) -> None:
        self._base, self._prepared, self._folder = base, prepared, folder
        self._held_out = held_out_losses(base, None, prepared.dataset, prepared.split.eval, 128)

    def new(
        self, name: str = "run", distributed: DistributedContext | None = None, **fields: Any
    ) -> TrainingRun:
        recipe = self._prepared.recipe.model_copy(update=FIELDS | fields)
        directory = RunDirectory(self._folder / name)
        directory.claim(recipe)
        around = Surroundings(reference=HiddenStateCache(self._base), study="tests", inputs=some_inputs())
        return TrainingRun(self._base, Preparer().prepare(recipe), directory, around)

    def start(self, run: TrainingRun, parent: Path | None = None) -> TrainingRun:
        run.start(self._held_out, None, parent)
        return run


def step(run: TrainingRun) -> StepStats:
    """One step as the cohort takes it."""
    while run.queue.peek() is not None:
        forward_backward(run.base, [run.take()])
    stats = run.update(run.reduce().tolist())
    run.record(stats)
    return stats


@pytest.fixture
def runs(loaded_base: Base, prepared: Prepared, tmp_path: Path) -> Runs:
    return Runs(loaded_base, prepared, tmp_path)


def events(run: TrainingRun) -> list[type]:
    return [type(event) for event in read_events(run.directory.events)]


def test_a_run_from_its_first_step_to_its_adapter(runs: Runs) -> None:
    run = runs.new()
    assert (run.state, run.name, run.study, run.step, run.total_steps, run.done) == (
        "new",
        "run",
        "tests",
        0,
        4,
        0,
    )
    runs.start(run)
    assert run.directory.status().state == run.state == "running"
    losses = []
    while not run.at_end:
        losses.append(step(run).loss)
        if not run.at_end:
            run.begin_step()
    run.finish()
    assert (run.step, run.done) == (4, 1.0)
    status = run.directory.status()
    assert (status.state, status.step, status.stopped_early) == ("finished", 4, False)
    assert (status.tokens, run.state) == (run.tokens, "finished")
    assert events(run) == [StartEvent, EvalEvent, *[TrainEvent] * 4, EvalEvent]
    assert run.last_logged is not None
    assert run.last_logged.loss == losses[-1] < losses[0]
    final = ExampleLosses.read(run.directory.eval / "final.parquet").summary()
    assert run.last_evaluation is not None
    assert run.last_evaluation.loss == final.loss
    assert (run.directory.adapter / "adapter_model.safetensors").is_file()
    assert run.directory.trainer_state.is_file()


def test_the_place_in_a_step_counts_as_done(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.training.micro_batches.MICRO_BATCH_TOKENS", 200)
    run = runs.start(runs.new())
    count = len(run.queue.all)
    run.take()
    assert count > 1
    assert run.done == pytest.approx(1 / count / 4)
    run.restart_step()
    assert run.done == 0.0


def test_a_step_that_began_again_ends_with_the_same_bits(runs: Runs) -> None:
    first, again = (runs.start(runs.new(name)) for name in ("first", "again"))
    forward_backward(again.base, [again.take()])
    assert again.adapter.gradients.any()
    again.restart_step()
    assert not again.adapter.gradients.any()
    assert step(first) == step(again)
    assert torch.equal(first.adapter.parameters, again.adapter.parameters)


def test_a_run_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(runs: Runs) -> None:
    whole = runs.start(runs.new("whole"))
    step(whole)
    whole.begin_step()
    step(whole)

    stopped = runs.start(runs.new("stopped"))
    step(stopped)
    stopped.stop("enough for today")
    status = stopped.directory.status()
    assert status.ending == "stopped at step 1 of 4: enough for today"
    assert read_events(stopped.directory.events)[-1] == StopEvent(
        step=1, rule="callback", reason="enough for today"
    )
    assert stopped.directory.latest_checkpoint() == stopped.directory.checkpoints / "step-1"
    resumed = runs.start(runs.new("stopped"))
    assert (resumed.step, resumed.state) == (1, "running")
    step(resumed)
    assert torch.equal(resumed.adapter.parameters, whole.adapter.parameters)
    assert events(resumed) == events(whole)


def test_a_run_starts_from_another_ones_adapter(runs: Runs) -> None:
    parent = runs.start(runs.new("parent"))
    step(parent)
    parent.finish()
    child = runs.start(runs.new("child"), parent.directory.adapter)
    assert torch.equal(child.adapter.parameters, parent.adapter.parameters)
    evaluated = [event for event in read_events(child.directory.events) if isinstance(event, EvalEvent)]
    assert [event.name for event in evaluated] == ["base", "start"]
    assert evaluated[1].loss == parent.last_evaluation.loss


def test_a_step_that_is_not_finite_is_not_taken(runs: Runs) -> None:
    run = runs.start(runs.new())
    before = run.adapter.parameters.clone()
    forward_backward(run.base, [run.take()])
    run.adapter.gradients[0] = torch.nan
    stats = run.update(run.reduce().tolist())
    assert not stats.finite
    assert torch.equal(run.adapter.parameters, before)
    run.fail("it exploded")
    assert run.directory.status().ending == "failed before its first step: it exploded"
    assert read_events(run.directory.events)[-1] == FailedEvent(step=1, reason="it exploded")


def test_checkpoints_come_every_so_many_steps_and_the_oldest_go(runs: Runs) -> None:
    run = runs.start(runs.new(save_steps=1, save_limit=2))
    kept = []
    for _ in range(3):
        step(run)
        run.save_if_due()
        run.begin_step()
        kept.append(sorted(path.name for path in run.directory.checkpoints.iterdir()))
    assert kept == [["step-1"], ["step-1", "step-2"], ["step-2", "step-3"]]


def test_a_callbacks_finding_is_logged_and_may_end_the_run(runs: Runs) -> None:
    run = runs.start(runs.new(on_error="stop"))
    run.report(FindingEvent(step=0, rule="mine", severity="error", message="too odd"))
    assert events(run)[-1] is FindingEvent
    assert run.log.fatal == "too odd (mine; on_error: stop)"
