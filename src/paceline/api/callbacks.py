"""Following a study: what its training tells, and what comes before and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from paceline.evaluate.progress import EvaluationProgress
from paceline.training.callbacks import Callback as TrainingCallback

if TYPE_CHECKING:
    from paceline.api.findings import Findings
    from paceline.api.results import StudyResult
    from paceline.config.study import Study


class Callback(TrainingCallback):
    """Follows a study. Override the methods that you need; each does nothing by default.

    While runs train: `on_start` or `on_resume`, `on_step`, `on_log`, `on_evaluation`, `on_score`,
    `on_finding`, `on_checkpoint`, `on_end` tell of one run, `on_micro_step` of all that train together,
    `on_message` of what is about to happen. They are called by the process that trains, between its
    computations and in the order in which
    things happen: what takes long here holds training up, and what raises ends it; the checkpoints so far
    stay whole, and the same call goes on from them. A resumed run tells only what is new.

    Return True from `wants_stop` to end the training: every run is saved at its last step.

    A callback that is a context manager is entered when `paceline.run_study` begins and left when it ends.

        class Stop(paceline.Callback):
            enough = False

            def on_evaluation(self, run, event):
                self.enough = event.loss < 1.0

            def wants_stop(self):
                return self.enough
    """

    def on_check(self, findings: Findings) -> None:
        """The runs of a cohort are checked; they train next, unless an error is among the findings."""

    def on_trained(self, result: StudyResult) -> None:
        """No run trains any more; evaluations may follow."""

    def on_answers(self, done: int, total: int, tokens: int) -> None:
        """An evaluation generates: answers that are done, of how many, and the tokens so far."""

    def on_graded(self) -> None:
        """An evaluation has graded, run or measured one more."""


def tell(callbacks: Iterable[TrainingCallback], line: str) -> None:
    """Tells callbacks what is about to happen."""
    for callback in callbacks:
        callback.on_message(line)


def tell_notes(callbacks: Iterable[TrainingCallback], study: Study) -> None:
    """Tells what a study's file sets that changes nothing, or means something else here."""
    for note in study.notes:
        tell(callbacks, f"note: {note}")


def teller(callbacks: Sequence[TrainingCallback]) -> Callable[[str], None]:
    """A function that tells callbacks a line."""
    return lambda line: tell(callbacks, line)


def of_study(callbacks: Iterable[TrainingCallback]) -> list[Callback]:
    """The callbacks that follow more than training."""
    return [callback for callback in callbacks if isinstance(callback, Callback)]


def evaluation_progress(callbacks: Sequence[TrainingCallback]) -> EvaluationProgress:
    """An evaluation's progress, told to callbacks."""

    def answers(done: int, total: int, tokens: int) -> None:
        for callback in of_study(callbacks):
            callback.on_answers(done, total, tokens)

    def graded() -> None:
        for callback in of_study(callbacks):
            callback.on_graded()

    return EvaluationProgress(log=teller(callbacks), answers=answers, checked=graded)
