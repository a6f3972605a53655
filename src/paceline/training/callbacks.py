"""How the outside follows training: progress bars, trackers, the live doctor, your own code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from paceline.config.recipe import Recipe
from paceline.runs.directory import RunDirectory, State
from paceline.runs.events import EvalEvent, Event, FindingEvent, ScoreEvent, StartEvent, TrainEvent

if TYPE_CHECKING:
    from paceline.training.step import StepStats


class RunView(Protocol):
    """What a callback may see of a run, and what it may do to it."""

    @property
    def name(self) -> str: ...
    @property
    def study(self) -> str: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def directory(self) -> RunDirectory: ...
    @property
    def state(self) -> State: ...
    @property
    def step(self) -> int:
        """Optimizer steps that are finished."""
        ...

    @property
    def total_steps(self) -> int: ...
    @property
    def tokens(self) -> int:
        """Tokens that it has trained on."""
        ...

    @property
    def done(self) -> float:
        """The share of the run that is behind it, from 0 to 1."""
        ...

    @property
    def last_logged(self) -> TrainEvent | None:
        """The last logged step of this process."""
        ...

    @property
    def last_evaluation(self) -> EvalEvent | None:
        """The last evaluation of this process."""
        ...

    def report(self, finding: FindingEvent) -> None:
        """Writes a finding into the run's log; an error ends a run whose recipe says `on_error: stop`."""
        ...


class CohortView(Protocol):
    """What a callback may see of the runs that train together."""

    @property
    def runs(self) -> Sequence[RunView]: ...
    @property
    def active(self) -> Sequence[RunView]: ...


class Callback:
    """Follows training. Override the methods that you need; each does nothing by default.

    They are called by the process that trains, between its computations, in the order in which things happen;
    what takes long here holds training up, and what raises ends it. A resumed run calls only what is new; its
    earlier events come once, through `on_resume`.

        class Stop(paceline.Callback):
            def on_evaluation(self, run, event):
                self.enough = event.loss < 1.0

            def wants_stop(self):
                return self.enough
    """

    def on_message(self, message: str) -> None:
        """One line about what is about to happen: reading data, loading the base."""

    def on_resume(self, run: RunView, events: Sequence[Event]) -> None:
        """A run goes on from a checkpoint; `events` are those of its log so far."""

    def on_start(self, run: RunView, event: StartEvent) -> None:
        """A run begins at step 0."""

    def on_micro_step(self, cohort: CohortView) -> None:
        """One forward and backward of the cohort is done, and every step that it completed."""

    def on_step(self, run: RunView, stats: StepStats) -> None:
        """An optimizer step is done."""

    def on_log(self, run: RunView, event: TrainEvent) -> None:
        """A step is logged (every `logging_steps`, and the last one)."""

    def on_evaluation(self, run: RunView, event: EvalEvent) -> None:
        """The held-out examples were evaluated: the bare base, on the way, at the end."""

    def on_score(self, run: RunView, event: ScoreEvent) -> None:
        """A benchmark was asked on the way."""

    def on_finding(self, run: RunView, event: FindingEvent) -> None:
        """Something is wrong or odd."""

    def on_checkpoint(self, run: RunView, folder: Path) -> None:
        """A checkpoint is whole on disk."""

    def on_end(self, run: RunView) -> None:
        """A run has finished, failed or stopped; `run.state` says which, and its files are written."""

    def wants_stop(self) -> bool:
        """Asked after every micro-step: True saves every run at its last step and ends the training."""
        return False

    @property
    def stop_reason(self) -> str:
        """What the runs' status and log say of a stop that this callback wants."""
        return f"{type(self).__name__} asked for it"


def dispatch(callbacks: Sequence[Callback], run: RunView, event: Event) -> None:
    """Tells callbacks of a new event, by the method that is for its kind."""
    for callback in callbacks:
        match event:
            case StartEvent():
                callback.on_start(run, event)
            case TrainEvent():
                callback.on_log(run, event)
            case EvalEvent():
                callback.on_evaluation(run, event)
            case ScoreEvent():
                callback.on_score(run, event)
            case FindingEvent():
                callback.on_finding(run, event)
            case _:
                pass  # a run that ends early or fails is told of by on_end
