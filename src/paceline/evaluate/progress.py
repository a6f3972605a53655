"""What an evaluation reports while it runs."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EvaluationProgress:
    """Functions that an evaluation calls.

    `log` gets a line of text; `answers` how many answers are done, of how many, and the tokens so far;
    `checked` is called once for every answer that was graded or run, and for every run that was measured.
    """

    log: Callable[[str], None] = lambda line: None
    answers: Callable[[int, int, int], None] = lambda done, total, tokens: None
    checked: Callable[[], None] = lambda: None


NO_PROGRESS = EvaluationProgress()
