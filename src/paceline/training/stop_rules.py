"""What ends a run before its last step: a loss, or a benchmark's score, that no longer gets better."""

from dataclasses import dataclass

from paceline.config.evaluation import InTrainingEval
from paceline.config.recipe import Recipe
from paceline.runs.events import ScoreEvent
from paceline.training.checkpoint import Progress


@dataclass(frozen=True)
class Stop:
    """Why a run ends before its last step: the recipe's field that says so, and what was seen."""

    rule: str
    reason: str


class LossPatience:
    """Counts evaluations that were not better by a margin, as transformers' EarlyStoppingCallback does.

    It counts in the run's progress, which is part of its checkpoints.
    """

    def __init__(self, recipe: Recipe, progress: Progress) -> None:
        self._patience, self._min_delta = recipe.early_stop_patience, recipe.early_stop_min_delta
        self._progress = progress

    def see(self, loss: float) -> None:
        """Counts an evaluation on the way, where the recipe has patience to lose."""
        if self._patience is None:
            return
        progress = self._progress
        if progress.patience_loss is None or loss < progress.patience_loss - self._min_delta:
            progress.patience_loss, progress.patience_used = loss, 0
        else:
            progress.patience_used += 1

    @property
    def over(self) -> bool:
        return self._patience is not None and self._progress.patience_used >= self._patience

    @property
    def stop(self) -> Stop | None:
        """What ends the run; None: it goes on."""
        if not self.over:
            return None
        progress = self._progress
        by = f" by {self._min_delta:g}" if self._min_delta else ""
        reason = f"eval loss had not fallen{by} for {_times(progress.patience_used, 'evaluation')}"
        if progress.best_loss is not None:
            reason += f" (lowest {progress.best_loss:.4f}{_at(progress.best_step)})"
        return Stop("early_stop_patience", reason)


class BenchmarkEarlyStop:
    """Follows the scores in a run's events, so that a resumed run knows what a run that never stopped knows.

    It ends a run whose score was not better by `min_delta` for `patience` checks, or is `floor` under the
    base's: what a Russian fine-tuning write-up stops by. Without patience it never is.
    """

    def __init__(self, config: InTrainingEval | None) -> None:
        self._config = config
        self.stop: Stop | None = None
        self._base: float | None = None
        self._best: float | None = None
        self._best_step = 0
        self._used = 0

    def due(self, step: int) -> bool:
        """Whether a check belongs after this step."""
        return self._config is not None and step % self._config.steps == 0

    def see(self, event: ScoreEvent) -> None:
        """Counts a score; one that is not a number counts for nothing."""
        config, score = self._config, event.score
        if config is None or score != score:
            return
        if event.name == "base":
            self._base = self._best = score
            return
        if self._best is None or score > self._best + config.min_delta:
            self._best, self._best_step, self._used = score, event.step, 0
        else:
            self._used += 1
        sunk = self._base is not None and score <= self._base - config.floor
        if config.patience is not None and (sunk or self._used >= config.patience):
            self.stop = Stop("eval.mtbench.during", self._reason(config, score, sunk))

    def _reason(self, config: InTrainingEval, score: float, sunk: bool) -> str:
        what = "the MT-Bench score"
        if sunk:
            return f"{what} {score:.2f} is {config.floor:g} or more under the base's {self._base:.2f}"
        by = f" by {config.min_delta:g}" if config.min_delta else ""
        best = f"best {self._best:.2f}{_at(self._best_step)}"
        return f"{what} had not risen{by} for {_times(self._used, 'check')} ({best})"


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}"


def _at(step: int | None) -> str:
    return f" at step {step:,}" if step else ", the base's"
