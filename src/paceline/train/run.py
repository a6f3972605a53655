"""One run's own state: its adapter, optimizer, place in the data and log.

It knows nothing of its neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from paceline.errors import TrainingError
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.runs.directory import RunDirectory, RunStatus, State
from paceline.runs.events import (
    EvalEvent,
    EvaluationName,
    Event,
    EventLog,
    FailedEvent,
    FindingEvent,
    ScoreEvent,
    StartEvent,
    TrainEvent,
    of_kind,
    read_events,
)
from paceline.runs.files import whole_folder
from paceline.runs.losses import ExampleLosses, LossSummary
from paceline.runs.trainer_state import write_trainer_state
from paceline.train.callbacks import Callback, dispatch
from paceline.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from paceline.train.distributed import SINGLE_PROCESS, DistributedContext
from paceline.train.heldout import held_out_losses
from paceline.train.hidden_cache import HiddenStateCache
from paceline.train.norms import adapter_norms
from paceline.train.objective import Objective, StepLoss
from paceline.train.optimizer import make_optimizer
from paceline.train.order import DataOrder
from paceline.train.prepare import Prepared
from paceline.train.queue import MicroBatchQueue
from paceline.train.schedule import learning_rate
from paceline.train.step import StepItem, StepStats, clip_and_step, reduce_gradients
from paceline.train.stop_rules import BenchmarkEarlyStop, LossPatience

# The score of an adapter (None: the bare base) on the questions of `eval.mtbench.during`.
Scorer = Callable[[Adapter | None], float]
# Names the dropout masks among the uses of a run's seed.
_DROPOUT_STREAM = 2


def no_scorer(adapter: Adapter | None) -> float:
    """Where nothing is there to ask and grade."""
    raise TrainingError(
        "eval.mtbench.during needs something that asks and grades: train with paceline.run_study"
    )


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a run needs beside its own recipe and data.

    `reference` and `teacher` are shared with its neighbours.
    """

    reference: HiddenStateCache
    teacher: HiddenStateCache | None = None
    scorer: Scorer = no_scorer
    callbacks: Sequence[Callback] = ()
    distributed: DistributedContext = SINGLE_PROCESS
    study: str = ""


class TrainingRun:
    """One run of a cohort, between its steps and inside them."""

    def __init__(self, base: Base, prepared: Prepared, directory: RunDirectory, around: Surroundings) -> None:
        self.base, self.prepared, self.directory = base, prepared, directory
        self.recipe, self.plan = prepared.recipe, prepared.plan
        self.name, self.study = directory.name, around.study
        self.state: State = "new"
        self.adapter = base.new_adapter(self.recipe)
        parameter = torch.nn.Parameter(self.adapter.parameters)
        parameter.grad = self.adapter.gradients
        self.optimizer = make_optimizer(self.recipe, parameter)
        self.learning_rate = learning_rate(self.recipe, self.plan)
        self.progress = Progress()
        self.loss_patience = LossPatience(self.recipe, self.progress)
        mtbench = self.recipe.eval.mtbench
        self.score_watch = BenchmarkEarlyStop(mtbench.during if mtbench else None)
        self.last_logged: TrainEvent | None = None
        self.last_evaluation: EvalEvent | None = None
        self.fatal_finding = ""
        self._reference = around.reference if self.recipe.kl else None
        self._objective = Objective(self.recipe, prepared.dataset, around.reference, around.teacher)
        self._around = around
        self._log = EventLog(directory.events)

    # -- beginning
    # -----------------------------------------------------------------------------------------------

    def start(self, base_losses: ExampleLosses, order_key: NDArray[Any] | None, parent: Path | None) -> None:
        """Starts at step 0, or goes on from the newest checkpoint as if it had never stopped.

        Args:
            base_losses: the bare base's on the held-out examples.
            order_key: what the examples of an epoch are sorted by; None: nothing.
            parent: folder of the adapter to start from; None: a new one.
        """
        order = DataOrder(self.recipe, self.plan, order_key)
        self.queue = MicroBatchQueue(self.prepared, order, self._around.distributed)
        checkpoint = self.directory.latest_checkpoint()
        if checkpoint is None:
            self._start_anew(base_losses, parent)
        else:
            self._resume(checkpoint)
        self.directory.set_status(RunStatus(state="running"))
        self.state = "running"
        self.begin_step()

    def _start_anew(self, base_losses: ExampleLosses, parent: Path | None) -> None:
        if parent is None:
            self.adapter.initialize(self.recipe.seed)
        else:
            self.adapter.load(parent)
        self._log.truncate(0)
        facts = self.prepared.facts.model_dump()
        lengths = {"total_steps": self.plan.total_steps, "steps_per_epoch": self.plan.steps_per_epoch}
        self._emit(StartEvent(**lengths, **facts))
        base_losses.save(self.directory.eval / "base.parquet")
        self._log_evaluation(base_losses.summary(self.recipe.phases), 0.0, "base")
        if parent is not None:
            self.evaluate("start")
        if self.score_watch.due(0):
            self.ask_benchmark(None)

    def _resume(self, checkpoint: Path) -> None:
        load_checkpoint(checkpoint, self.adapter, self.optimizer, self.progress)
        self._log.truncate(self.progress.events_bytes)
        events = read_events(self.directory.events)
        for score in of_kind(events, ScoreEvent):
            self.score_watch.see(score)
        for callback in self._around.callbacks:
            callback.on_resume(self, events)

    # -- inside a step
    # -------------------------------------------------------------------------------------------

    def begin_step(self) -> None:
        """Takes up the next step's micro-batches."""
        self.queue.begin(self.progress.step)
        self.restart_step()

    def restart_step(self) -> None:
        """Forgets what the step under way has summed; its micro-batches come again, in the same order."""
        self.queue.restart()
        self.loss: StepLoss = self._objective.begin(
            self.progress.step, self.queue.all, measure=self._is_logged(self.progress.step + 1)
        )
        self.adapter.gradients.zero_()

    def take(self) -> StepItem:
        """The next micro-batch, as a part of the step."""
        number, micro_batch = self.queue.take()
        if number < 0:
            return StepItem(micro_batch=micro_batch, adapter=self.adapter, loss=None)
        key = (self.recipe.seed, self.progress.step, number, _DROPOUT_STREAM)
        return StepItem(micro_batch=micro_batch, adapter=self.adapter, loss=self.loss, dropout_key=key)

    def update(self) -> StepStats:
        """Reduces, clips and steps; a step that is not finite is not taken."""
        began = time.perf_counter()
        grad_norm = reduce_gradients(self.adapter, self.loss, self._around.distributed)
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

    # -- between steps
    # -------------------------------------------------------------------------------------------

    def record(self, stats: StepStats) -> None:
        """Counts a step that was taken, and logs it where the recipe says so."""
        self._watch_gradient(stats)
        progress = self.progress
        progress.step += 1
        progress.tokens += stats.tokens
        progress.supervised += stats.supervised
        progress.window_steps += 1
        progress.window_loss += stats.loss
        progress.window_supervised += stats.supervised
        progress.window_correct += stats.correct
        for callback in self._around.callbacks:
            callback.on_step(self, stats)
        if self._is_logged(progress.step):
            self._log_step(stats)

    def _watch_gradient(self, stats: StepStats) -> None:
        """A gradient of exactly zero is told once, when it begins, also where the step is not logged."""
        zero = stats.grad_norm == 0.0
        if zero and not self.progress.zero_gradient:
            message = "the gradient norm is exactly 0.0: nothing is learned"
            self.report(
                FindingEvent(step=stats.step, rule="zero-gradient", severity="warning", message=message)
            )
        self.progress.zero_gradient = zero

    def _is_logged(self, step: int) -> bool:
        return step == self.plan.total_steps or step % self.recipe.logging_steps == 0

    def _log_step(self, stats: StepStats) -> None:
        """Logs the mean loss since the last line, as transformers does; all else is the last step's."""
        progress = self.progress
        terms = dict(stats.terms) if set(stats.terms) != {"cross_entropy"} else {}
        if "kl" in terms:
            terms["kl_weight"] = stats.weights["kl"]
        self.last_logged = TrainEvent(
            step=progress.step,
            epoch=self.epoch,
            loss=progress.window_loss / progress.window_steps,
            lr=stats.lr,
            grad_norm=stats.grad_norm,
            token_accuracy=progress.window_correct / max(progress.window_supervised, 1),
            tokens=progress.tokens,
            supervised_tokens=progress.supervised,
            seconds=progress.seconds,
            norms=adapter_norms(self.adapter, self.base.weight_norms),
            **terms,
        )
        self._emit(self.last_logged)
        progress.window_steps, progress.window_loss = 0, 0.0
        progress.window_supervised, progress.window_correct = 0, 0

    def evaluate_if_due(self) -> None:
        """The evaluations on the way that the recipe asks for after this step."""
        step = self.progress.step
        if self.at_end:
            return
        if self.recipe.eval_steps and step % self.recipe.eval_steps == 0:
            self.evaluate("eval")
        if self.score_watch.due(step) and not self.loss_patience.over:
            self.ask_benchmark(self.adapter)

    def evaluate(self, name: EvaluationName) -> ExampleLosses:
        """Evaluates and logs the held-out examples; keeps the best adapter where the recipe wants it."""
        began = time.perf_counter()
        losses = self._held_out()
        summary = losses.summary(self.recipe.phases)
        self._log_evaluation(summary, time.perf_counter() - began, name)
        if name == "eval":
            self.loss_patience.see(summary.loss)
        best = self.progress.best_loss
        if best is None or summary.loss < best:
            self.progress.best_loss, self.progress.best_step = summary.loss, self.progress.step
            if self.recipe.load_best:
                with whole_folder(self.directory.best) as scratch:
                    self.adapter.save(scratch, self.recipe)
        return losses

    def ask_benchmark(self, adapter: Adapter | None) -> None:
        """Asks a part of MT-Bench's questions; None: of the bare base."""
        began = time.perf_counter()
        score = self._around.scorer(adapter)
        event = ScoreEvent(
            step=self.progress.step,
            epoch=self.epoch,
            name="base" if adapter is None else "eval",
            score=score,
            seconds=time.perf_counter() - began,
        )
        self._emit(event)
        self.score_watch.see(event)

    def save_if_due(self) -> None:
        if self.progress.step % self.recipe.save_steps == 0:
            self.save()

    def save(self) -> None:
        """Writes a checkpoint of the last finished step."""
        self.progress.events_bytes = self._log.offset()
        folder = self.directory.checkpoints / f"step-{self.progress.step}"
        save_checkpoint(folder, self.recipe, self.adapter, self.optimizer, self.progress)
        self.directory.prune_checkpoints(self.recipe.save_limit)
        for callback in self._around.callbacks:
            callback.on_checkpoint(self, folder)

    # -- ending
    # --------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Saves the last finished step and lets go; the same command goes on from there."""
        self.save()
        self._close(RunStatus(state="stopped", step=self.progress.step))

    def fail(self, reason: str) -> None:
        """Ends a run that cannot go on, or not even begin."""
        self._emit(FailedEvent(step=self.progress.step + 1, reason=reason))
        self._close(RunStatus(state="failed", step=self.progress.step, reason=reason))

    def finish(self) -> None:
        """The last evaluation, and the adapter: the last or the best one."""
        losses = self.evaluate("final")
        if self.recipe.load_best and self.progress.best_step != self.progress.step:
            self.adapter.load(self.directory.best)
            losses = self._held_out()
            self._log_evaluation(losses.summary(self.recipe.phases), 0.0, "best")
        losses.save(self.directory.eval / "final.parquet")
        with whole_folder(self.directory.adapter) as scratch:
            self.adapter.save(scratch, self.recipe)
        progress = self.progress
        status = RunStatus(
            state="finished",
            step=progress.step,
            tokens=progress.tokens,
            supervised_tokens=progress.supervised,
            seconds=progress.seconds,
            best_step=progress.best_step,
            stopped_early=progress.step < self.plan.total_steps,
        )
        self._close(status)

    def _close(self, status: RunStatus) -> None:
        self._log.close()
        events = read_events(self.directory.events)
        write_trainer_state(events, self.directory.trainer_state, self.plan.total_steps, self.recipe.epochs)
        self.directory.set_status(status)
        self.state = status.state
        for callback in self._around.callbacks:
            callback.on_end(self)

    # -- what callbacks and the cohort look at
    # -------------------------------------------------------------------

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
    def epoch(self) -> float:
        """Passes over the training data."""
        return self.progress.step / self.plan.steps_per_epoch

    @property
    def done(self) -> float:
        """The share of the run that is behind it."""
        taken = self.queue.fraction if self.state == "running" else 0.0
        return (self.progress.step + taken) / self.plan.total_steps

    @property
    def at_end(self) -> bool:
        """Whether the last step is taken."""
        return self.progress.step == self.plan.total_steps

    @property
    def out_of_patience(self) -> bool:
        """Whether an early stop is due."""
        return self.loss_patience.over or self.score_watch.over

    def report(self, finding: FindingEvent) -> None:
        """Logs a finding; an error ends the run if its recipe says so."""
        self._emit(finding)
        if finding.severity == "error" and self.recipe.on_error == "stop":
            self.fatal_finding = f"{finding.message} ({finding.rule})"

    def _emit(self, event: Event) -> None:
        self._log.write(event)
        dispatch(self._around.callbacks, self, event)

    def _log_evaluation(self, summary: LossSummary, seconds: float, name: EvaluationName) -> None:
        figures = summary.model_dump()
        self.last_evaluation = EvalEvent(
            step=self.progress.step, epoch=self.epoch, name=name, seconds=seconds, **figures
        )
        self._emit(self.last_evaluation)

    def _held_out(self) -> ExampleLosses:
        return held_out_losses(
            self.base,
            self.adapter,
            self.prepared.dataset,
            self.prepared.split.eval,
            self.recipe.max_length,
            self._reference,
        )
