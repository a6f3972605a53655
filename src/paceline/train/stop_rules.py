"""An early stop on a benchmark's score."""

from typing import Any

from paceline.config.evaluation import InTrainingEval


class BenchmarkEarlyStop:
    """Follows the scores in a run's events, so that a resumed run knows what a run that never stopped knows.

    `over` when the score was not better by `min_delta` for `patience` checks, or is `floor` under the base's: what a Russian fine-tuning
    write-up stops by. Without patience it never is.
    """

    def __init__(self, wanted: InTrainingEval | None) -> None:
        self.wanted = wanted
        self.over = False
        self._base: float | None = None
        self._best: float | None = None
        self._used = 0

    def due(self, step: int) -> bool:
        """Whether a check belongs after this step."""
        return self.wanted is not None and step % self.wanted.steps == 0

    def see(self, event: dict[str, Any]) -> None:
        """Counts an event if it is a score."""
        if event["event"] != "mtbench" or self.wanted is None or event["score"] is None:
            return
        score = float(event["score"])
        if event["name"] == "base":
            self._base = self._best = score
            return
        if self._best is None or score > self._best + self.wanted.min_delta:
            self._best, self._used = score, 0
        else:
            self._used += 1
        sunk = self._base is not None and score <= self._base - self.wanted.floor
        self.over = self.wanted.patience is not None and (sunk or self._used >= self.wanted.patience)
