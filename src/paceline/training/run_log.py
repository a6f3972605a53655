"""A run's log while it trains: every event is written, then told to the callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paceline.runs.events import (
    AdapterNorms,
    DataFacts,
    EvalEvent,
    EvaluationName,
    Event,
    EventLog,
    ExtendEvent,
    FindingEvent,
    ScoreEvent,
    StartEvent,
    TrainEvent,
    read_events,
    start_of,
)
from paceline.runs.losses import LossSummary
from paceline.training.callbacks import Callback, RunView, dispatch
from paceline.training.checkpoint import Progress
from paceline.training.order import StepPlan
from paceline.training.step import StepStats


class RunLog:
    """Writes one run's events, and sums what happens between two logged steps in its `progress`.

    `last_step` and `last_evaluation` are this process's last ones; `fatal` is the error that ends a run whose
    recipe says `on_error: stop`.
    """

    def __init__(
        self, run: RunView, progress: Progress, plan: StepPlan, callbacks: Sequence[Callback]
    ) -> None:
        self._run, self._progress, self._plan, self._callbacks = run, progress, plan, callbacks
        self._file = EventLog(run.directory.events)
        self.last_step: TrainEvent | None = None
        self.last_evaluation: EvalEvent | None = None
        self.fatal = ""

    # -- beginning and ending ------------------------------------------------------------------------------

    def begin(self, facts: DataFacts, trainable: int) -> None:
        """Starts an empty log, of a run with so many trainable parameters."""
        self._file.truncate(0)
        plan = {"total_steps": self._plan.total_steps, "steps_per_epoch": self._plan.steps_per_epoch}
        self.emit(StartEvent(trainable_parameters=trainable, **plan, **facts.model_dump()))

    def resume(self, checkpoint: Path) -> list[Event]:
        """Cuts the log back to the checkpoint, and returns its events; a damaged one is taken from there."""
        if not self._file.restore((checkpoint / "events.jsonl").read_bytes()):
            self._say(
                f"{self._run.name}: events.jsonl was damaged, and is again what {checkpoint.name} holds"
            )
        events = read_events(self._run.directory.events)
        start = start_of(events)
        if start is not None and start.total_steps != self._plan.total_steps:
            plan = {"total_steps": self._plan.total_steps, "steps_per_epoch": self._plan.steps_per_epoch}
            events.append(ExtendEvent(step=self._progress.step, **plan))
            self._file.write(events[-1])
        for callback in self._callbacks:
            callback.on_resume(self._run, events)
        return events

    def offset(self) -> int:
        """Bytes of the log that are safe on disk."""
        return self._file.offset()

    def until(self, offset: int) -> bytes:
        """The log's first `offset` bytes."""
        with self._file.path.open("rb") as file:
            return file.read(offset)

    def _say(self, line: str) -> None:
        for callback in self._callbacks:
            callback.on_message(line)

    def close(self) -> list[Event]:
        """Ends the log, and returns all its events."""
        self._file.close()
        return read_events(self._run.directory.events)

    # -- what happens --------------------------------------------------------------------------------------

    def is_due(self, step: int) -> bool:
        """Whether a step is logged."""
        return step == self._plan.total_steps or step % self._run.recipe.logging_steps == 0

    def count(self, stats: StepStats) -> None:
        """Counts a step that was taken."""
        self._watch_gradient(stats)
        progress = self._progress
        progress.step += 1
        progress.tokens += stats.tokens
        progress.supervised += stats.supervised
        progress.window_steps += 1
        progress.window_loss += stats.loss
        progress.window_supervised += stats.supervised
        progress.window_correct += stats.correct
        for callback in self._callbacks:
            callback.on_step(self._run, stats)

    def step(self, stats: StepStats, norms: AdapterNorms) -> None:
        """Logs the mean loss since the last line, as transformers does; all else is the last step's."""
        progress = self._progress
        terms = dict(stats.terms) if set(stats.terms) != {"cross_entropy"} else {}
        if "kl" in terms:
            terms["kl_weight"] = stats.weights["kl"]
        self.last_step = TrainEvent(
            step=progress.step,
            epoch=self._epoch,
            loss=progress.window_loss / progress.window_steps,
            lr=stats.lr,
            grad_norm=stats.grad_norm,
            token_accuracy=progress.window_correct / max(progress.window_supervised, 1),
            tokens=progress.tokens,
            supervised_tokens=progress.supervised,
            seconds=progress.seconds,
            norms=norms,
            **terms,
        )
        self.emit(self.last_step)
        progress.window_steps, progress.window_loss = 0, 0.0
        progress.window_supervised, progress.window_correct = 0, 0

    def evaluation(self, name: EvaluationName, summary: LossSummary, seconds: float) -> None:
        """Logs an evaluation on the held-out examples."""
        at = {"step": self._progress.step, "epoch": self._epoch}
        self.last_evaluation = EvalEvent(**at, name=name, seconds=seconds, **summary.model_dump())
        self.emit(self.last_evaluation)

    def score(self, of_base: bool, score: float, seconds: float) -> ScoreEvent:
        """Logs a benchmark's score."""
        at = {"step": self._progress.step, "epoch": self._epoch}
        event = ScoreEvent(**at, name="base" if of_base else "eval", score=score, seconds=seconds)
        self.emit(event)
        return event

    def finding(self, event: FindingEvent) -> None:
        """Logs a finding; an error ends the run if its recipe says so."""
        self.emit(event)
        if event.severity == "error" and self._run.recipe.on_error == "stop":
            self.fatal = f"{event.message} ({event.rule}; on_error: stop)"

    def emit(self, event: Event) -> None:
        """Writes an event and tells the callbacks of it."""
        self._file.write(event)
        dispatch(self._callbacks, self._run, event)

    @property
    def _epoch(self) -> float:
        return self._plan.passes(self._progress.step)

    def _watch_gradient(self, stats: StepStats) -> None:
        """A gradient of exactly zero is reported once, when it begins, even if the step is not logged."""
        zero = stats.grad_norm == 0.0
        if zero and not self._progress.zero_gradient:
            message = "the gradient norm is exactly 0.0: nothing is learned"
            rule, severity = "zero-gradient", "warning"
            self.finding(FindingEvent(step=stats.step, rule=rule, severity=severity, message=message))
        self._progress.zero_gradient = zero
