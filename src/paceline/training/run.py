"""One run's own state: its adapter, optimizer and place in the data. It knows nothing of its neighbours."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from paceline.model.base import Base
from paceline.runs.directory import RunDirectory, RunStatus, State
from paceline.runs.events import (
    EvalEvent,
    FailedEvent,
    FindingEvent,
    ScoreEvent,
    StopEvent,
    TrainEvent,
    of_kind,
)
from paceline.runs.inputs import Inputs
from paceline.runs.losses import ExampleLosses
from paceline.runs.trainer_state import write_trainer_state
from paceline.training.callbacks import Callback
from paceline.training.checkpoint import Progress, load_checkpoint, save_adapter, save_checkpoint
from paceline.training.distributed import SINGLE_PROCESS, DistributedContext
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.norms import adapter_norms
from paceline.training.objective import LEAST_MARGIN, Objective, StepLoss, first_margin
from paceline.training.optimizer import make_optimizer
from paceline.training.order import DataOrder
from paceline.training.prepare import Prepared
from paceline.training.queue import MicroBatchQueue
from paceline.training.run_evaluation import RunEvaluation, Scorer, no_scorer
from paceline.training.run_log import RunLog
from paceline.training.schedule import learning_rate
from paceline.training.step import StepItem, StepStats, clip_and_step, reduce_gradients

# Names the dropout masks among the uses of a run's seed.
_DROPOUT_STREAM = 2


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a run needs beside its own recipe and data.

    `reference` and `teacher` are shared with its neighbours; `inputs` go into its checkpoints.
    """

    inputs: Inputs
    reference: HiddenStateCache
    teacher: HiddenStateCache | None = None
    scorer: Scorer = no_scorer
    callbacks: Sequence[Callback] = ()
    distributed: DistributedContext = SINGLE_PROCESS
    study: str = ""


class TrainingRun:
    """One run of a cohort, between its steps and inside them. What callbacks see of it is a `RunView`."""

    def __init__(self, base: Base, prepared: Prepared, directory: RunDirectory, around: Surroundings) -> None:
        self.base, self.prepared, self.directory = base, prepared, directory
        self.recipe, self.plan = prepared.recipe, prepared.plan
        self.name, self.study = directory.name, around.study
        self.state: State = "new"
        self.adapter = base.new_adapter(self.recipe)
        self.optimizer = make_optimizer(self.recipe, self.adapter)
        self.learning_rate = learning_rate(self.recipe, self.plan)
        self.progress = Progress()
        self._at_end: Progress | None = None
        self._saved_at = time.monotonic()
        self.log = RunLog(self, self.progress, self.plan, around.callbacks)
        self.evaluation = RunEvaluation(
            base,
            prepared,
            self.adapter,
            directory,
            self.progress,
            self.log,
            around.reference,
            around.scorer,
        )
        self._objective = Objective(self.recipe, prepared.dataset, around.reference, around.teacher)
        self._callbacks, self._distributed, self._inputs = around.callbacks, around.distributed, around.inputs

    # -- beginning -----------------------------------------------------------------------------------------

    def start(self, base_losses: ExampleLosses, order_key: NDArray[Any] | None, parent: Path | None) -> None:
        """Starts at step 0, or goes on from the newest checkpoint as if it had never stopped.

        Args:
            base_losses: the bare base's on the held-out examples.
            order_key: what the examples of an epoch are sorted by; None: nothing.
            parent: folder of the adapter to start from; None: a new one.
        """
        order = DataOrder(self.recipe, self.plan, order_key)
        self.queue = MicroBatchQueue(self.prepared, order, self._distributed)
        if (checkpoint := self.directory.latest_checkpoint()) is not None:
            load_checkpoint(checkpoint, self.adapter, self.optimizer, self.progress)
            for score in of_kind(self.log.resume(checkpoint), ScoreEvent):
                self.evaluation.early_stop.see(score)
        else:
            if parent is None:
                self.adapter.initialize(self.recipe.seed)
            else:
                self.adapter.load(parent)
            self.log.begin(self.prepared.facts, self.base.adapter_size(self.recipe))
            self.evaluation.begin(base_losses, parent is not None)
        self.directory.set_status(RunStatus(state="running", total_steps=self.total_steps))
        self.state = "running"
        if self.progress.evaluation_due:
            self.progress.evaluation_due = False
            self.evaluation.if_due()
        if self.at_end or self.evaluation.stop:
            self.finish()
        else:
            self.begin_step()

    # -- a step --------------------------------------------------------------------------------------------

    def begin_step(self) -> None:
        """Takes up the next step's micro-batches."""
        self.queue.begin(self.progress.step)
        self._margin = first_margin(self.base)  # each step's own: it depends on no step before it
        self.restart_step()

    def look_ahead(self) -> None:
        """Cuts the next step's batch, where there is one."""
        if self.progress.step + 1 < self.plan.total_steps:
            self.queue.look_ahead(self.progress.step + 1)

    def restart_step(self) -> None:
        """Forgets what the step under way has summed; its micro-batches come again, in the same order."""
        self.queue.restart()
        logged = self.log.is_due(self.progress.step + 1)
        self.loss: StepLoss = self._objective.begin(
            self.progress.step, self.queue.all, measure=logged, margin=self._margin
        )
        self.adapter.zero_gradients()

    def rescale(self, stats: StepStats) -> bool:
        """Begins a step again whose gradient passed fp16's range, at half the scale; False: it did not."""
        if self._margin is None or not math.isfinite(stats.loss) or self._margin < LEAST_MARGIN:
            return False
        self._margin /= 2
        self.restart_step()
        return True

    def take(self) -> StepItem:
        """The next micro-batch, as a part of the step."""
        number, micro_batch = self.queue.take()
        if number < 0:
            return StepItem(micro_batch=micro_batch, adapter=self.adapter, loss=None)
        return StepItem(
            micro_batch=micro_batch,
            adapter=self.adapter,
            loss=self.loss,
            dropout_key=(self.recipe.seed, self.progress.step, number, _DROPOUT_STREAM),
            first_row=self.queue.first_row(number),
        )

    def reduce(self) -> Tensor:
        """Sums the step over all processes; see `reduce_gradients`."""
        return reduce_gradients(self.adapter, self.loss, self._distributed)

    def update(self, reduced: Sequence[float]) -> StepStats:
        """Clips and steps, from what `reduce` gave; a step that is not finite is not taken."""
        began = time.perf_counter()
        *counted, grad_norm = reduced
        self.loss.take(counted)
        stats = StepStats(
            step=self.progress.step + 1,
            loss=self.loss.value,
            grad_norm=grad_norm,
            lr=self.learning_rate(self.progress.step),
            tokens=sum(micro_batch.tokens for micro_batch in self.queue.all),
            supervised=self.loss.supervised,
            correct=self.loss.correct,
            terms=self.loss.terms,
            weights=self.loss.weights,
        )
        if stats.finite:
            clip_and_step(self.adapter, self.optimizer, stats.lr, grad_norm, self.recipe.max_grad_norm)
        self.progress.seconds += time.perf_counter() - began
        return stats

    def record(self, stats: StepStats) -> None:
        """Counts a step that was taken, and logs it where the recipe says so."""
        self.log.count(stats)
        step, regular = self.progress.step, self.progress.step % self.recipe.logging_steps == 0
        if self.at_end and not regular:  # a longer run would not log this step
            self._note_end()
        if self.log.is_due(step):
            self.log.step(stats, adapter_norms(self.adapter, self.base.weight_norms))
        if self.at_end and regular:
            self._note_end()

    def _note_end(self) -> None:
        """Notes what a longer run would have counted by now."""
        self._at_end = replace(self.progress, events_bytes=self.log.offset(), evaluation_due=True)

    def save_if_due(self) -> None:
        """Saves every `save_steps`, and where the last checkpoint is `save_minutes` old."""
        recipe = self.recipe
        late = recipe.save_minutes and time.monotonic() - self._saved_at >= 60 * recipe.save_minutes
        if self.progress.step % recipe.save_steps == 0 or late:
            self.save()

    def save(self) -> None:
        """Writes a checkpoint of the last finished step."""
        self.progress.events_bytes = self.log.offset()
        folder = self.directory.checkpoints / f"step-{self.progress.step}"
        self._save(folder, self.progress)
        self._saved_at = time.monotonic()
        self.directory.prune_checkpoints(self.recipe.save_limit)
        for callback in self._callbacks:
            callback.on_checkpoint(self, folder)

    def _save(self, folder: Path, progress: Progress) -> None:
        state = (self.recipe, self.adapter, self.optimizer, progress, self._inputs)
        save_checkpoint(folder, *state, self.log.until(progress.events_bytes))

    # -- ending --------------------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Saves the last finished step and lets go; the same command goes on from there."""
        self.save()
        self.log.emit(StopEvent(step=self.progress.step, rule="callback", reason=reason))
        self._close("stopped", reason=reason)

    def fail(self, reason: str) -> None:
        """Ends a run that cannot go on, or not even begin."""
        self.log.emit(FailedEvent(step=self.progress.step + 1, reason=reason))
        self._close("failed", reason=reason)

    def finish(self) -> None:
        """The last evaluation, the adapter that is kept, and the state that a longer run could go on from."""
        stop = None if self.at_end else self.evaluation.stop
        if stop is not None:
            self.log.emit(StopEvent(step=self.progress.step, rule=stop.rule, reason=stop.reason))
        if self._at_end is not None:  # before the best adapter takes the last one's place
            self._save(self.directory.end, self._at_end)
        self.evaluation.last().save(self.directory.eval / "final.parquet")
        save_adapter(self.directory.adapter, self.recipe, self.adapter)
        progress = self.progress
        figures: dict[str, Any] = {
            "tokens": progress.tokens,
            "supervised_tokens": progress.supervised,
            "seconds": progress.seconds,
            "best_step": progress.best_step,
        }
        self._close("finished", stop.reason if stop else "", stopped_early=not self.at_end, **figures)

    def _close(self, state: State, reason: str, **figures: Any) -> None:
        status = RunStatus(
            state=state, step=self.progress.step, total_steps=self.total_steps, reason=reason, **figures
        )
        events, target = self.log.close(), self.directory.trainer_state
        write_trainer_state(events, target, self.plan.total_steps, self.recipe.epochs)
        self.directory.set_status(status)
        self.state = status.state
        for callback in self._callbacks:
            callback.on_end(self)

    # -- what the cohort and callbacks look at -------------------------------------------------------------

    @property
    def at_end(self) -> bool:
        """Whether the last step is taken."""
        return self.progress.step == self.plan.total_steps

    @property
    def step(self) -> int:
        return self.progress.step

    @property
    def total_steps(self) -> int:
        return self.plan.total_steps

    @property
    def tokens(self) -> int:
        return self.progress.tokens

    @property
    def done(self) -> float:
        """The share of the run that is behind it."""
        under_way = self.state == "running" and self.queue.step == self.progress.step
        return (self.progress.step + (self.queue.fraction if under_way else 0.0)) / self.plan.total_steps

    @property
    def last_logged(self) -> TrainEvent | None:
        return self.log.last_step

    @property
    def last_evaluation(self) -> EvalEvent | None:
        return self.log.last_evaluation

    def report(self, finding: FindingEvent) -> None:
        """Logs a finding; an error ends the run if its recipe says so."""
        self.log.finding(finding)
