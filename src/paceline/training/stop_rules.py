"""What ends a run before its last step: a loss, or a benchmark's score, that no longer gets better."""

from paceline.config.evaluation import InTrainingEval
from paceline.config.recipe import Recipe
from paceline.runs.events import ScoreEvent
from paceline.training.checkpoint import Progress


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


class BenchmarkEarlyStop:
    """Follows the scores in a run's events, so that a resumed run knows what a run that never stopped knows.

    `over` when the score was not better by `min_delta` for `patience` checks, or is `floor` under the base's:
    what a Russian fine-tuning write-up stops by. Without patience it never is.
    """

    def __init__(self, config: InTrainingEval | None) -> None:
        self._config = config
        self.over = False
        self._base: float | None = None
        self._best: float | None = None
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
            self._best, self._used = score, 0
        else:
            self._used += 1
        sunk = self._base is not None and score <= self._base - config.floor
        self.over = config.patience is not None and (sunk or self._used >= config.patience)
