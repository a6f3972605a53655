"""Grades and passed tasks of two runs, question by question and task by task."""

from collections import defaultdict
from collections.abc import Sequence

from paceline.runs.evaluations import CodeVerdict, Judgment
from paceline.stats.paired import Difference, paired_difference

# Where a larger share of answers was cut at the token limit, nothing is said of a difference by them.
MAX_CUT = 0.05


def cut_too_often(cut: int | None, answers: int, whose: str = "") -> str:
    """Why nothing is said of a change; "" where at most 5% of the answers were cut, or nobody counted."""
    if cut is None or not answers or cut / answers <= MAX_CUT:
        return ""
    return f"no verdict: {cut} of {whose}{answers} answers cut"


def rating_difference(run: Sequence[Judgment], other: Sequence[Judgment]) -> Difference | None:
    """Paired difference of the mean ratings over the turns that both have a grade for; None without one.

    Of a reward model's grades the raw scores are compared. A question is one unit: its turns belong together.
    """
    theirs = {(judgment.id, judgment.turn): judgment for judgment in other if judgment.is_valid}
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for judgment in run:
        same = theirs.get((judgment.id, judgment.turn))
        if judgment.is_valid and same is not None and (judgment.raw is None) == (same.raw is None):
            pairs[judgment.id].append((judgment.score, same.score))
    if not pairs:
        return None
    totals = [tuple(map(sum, zip(*turns, strict=True))) for turns in pairs.values()]
    counts = [len(turns) for turns in pairs.values()]
    ours, others = zip(*totals, strict=True)
    return paired_difference(ours, others, counts, better="higher")


def pass_difference(run: Sequence[CodeVerdict], other: Sequence[CodeVerdict]) -> Difference | None:
    """Paired difference of pass@1 over the tasks that both answered; None without such a task.

    A task is one unit; its samples are averaged first.
    """
    ours, theirs = _pass_rates(run), _pass_rates(other)
    tasks = [task for task in ours if task in theirs]
    if not tasks:
        return None
    return paired_difference(
        [ours[task] for task in tasks],
        [theirs[task] for task in tasks],
        [1] * len(tasks),
        better="higher",
        left_out=len(ours.keys() ^ theirs.keys()),
    )


def _pass_rates(verdicts: Sequence[CodeVerdict]) -> dict[str, float]:
    """{task: share of its answers that pass}."""
    answers: dict[str, list[bool]] = defaultdict(list)
    for verdict in verdicts:
        answers[verdict.id].append(verdict.passed)
    return {task: sum(passed) / len(passed) for task, passed in answers.items()}
