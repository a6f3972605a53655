"""Who is told how far an evaluation is."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationProgress:
    """`say` is told a line; `answers` how many answers are done, of how many, and tokens so far; `checked` that one more was graded or run."""

    log: Callable[[str], None] = lambda line: None
    answers: Callable[[int, int, int], None] = lambda done, total, tokens: None
    checked: Callable[[], None] = lambda: None


NO_PROGRESS = EvaluationProgress()
