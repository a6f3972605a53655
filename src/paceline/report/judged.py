"""What was said in advance, held against the figures: hypotheses, and criteria of success."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from paceline.comparison.recipes import BASE, loss_family, rating_family
from paceline.comparison.scores import MAX_CUT
from paceline.comparison.table import Comparison
from paceline.config.criteria import Criterion
from paceline.report.families import Graded
from paceline.runs.evaluations import Judgment
from paceline.runs.events import TrainEvent
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import StudyRecord
from paceline.stats.intervals import Interval
from paceline.stats.recipes import RecipeDifference, RecipeFamily

Outcome = Literal["held", "not held", "cannot tell", "passed", "failed", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim about a recipe, what became of it, and the number that says so."""

    recipe: str
    claim: str
    criterion: str
    outcome: Outcome
    number: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What criteria are held against: losses and grades by recipe and seed, the base's, and logged steps."""

    losses: Mapping[str, Mapping[int, ExampleLosses]]
    base: ExampleLosses | None
    logs: Mapping[str, Sequence[Sequence[TrainEvent]]]
    mtbench: Graded


def judge_hypotheses(
    record: StudyRecord, comparison: Comparison | None, mtbench: RecipeFamily | None
) -> list[Judged]:
    """Every hypothesis with what it expects: held, not held, or not to be told.

    It is held where the simultaneous interval of the difference says so, over examples and seeds: with one
    seed each nothing can be told.
    """
    judged = []
    for entry in record.runs:
        if entry.name != entry.recipe_name or entry.expects is None:
            continue
        d = _difference(entry.expects, entry.recipe_name, comparison, mtbench)
        judged.append(
            Judged(
                recipe=entry.recipe_name,
                claim=entry.hypothesis,
                criterion=str(entry.expects),
                outcome=_held(entry.expects, d),
                number="not measured in both" if d is None else _bounds(d),
            )
        )
    return judged


def judge_success(record: StudyRecord, measured: Measured) -> list[Judged]:
    """Every criterion of every finished recipe: passed where its whole interval meets the bound."""
    judged = []
    for entry in record.runs:
        if entry.name != entry.recipe_name or entry.recipe_name not in measured.losses:
            continue
        for criterion in entry.success:
            interval = figure_of(criterion.figure, entry.recipe_name, measured)
            alone = len(measured.losses[entry.recipe_name]) == 1
            judged.append(
                Judged(
                    recipe=entry.recipe_name,
                    claim="",
                    criterion=str(criterion),
                    outcome=_passed(criterion, interval),
                    number=_why_not(criterion, entry.recipe_name, measured.mtbench)
                    if interval is None
                    else _shown(interval) + ", this adapter (one seed)" * alone,
                )
            )
    return judged


def figure_of(figure: str, recipe: str, measured: Measured) -> Interval | None:
    """A recipe's figure with its 95% interval by itself, over examples and, with replicates, seeds.

    What is read from a log alone has no interval: its bounds are the value. None: not measured.
    """
    if figure in ("train_loss_drop", "grad_norm"):
        return _of_logs(figure, measured.logs.get(recipe, ()))
    if figure.startswith("mtbench"):
        return _of_mtbench(figure, recipe, measured.mtbench)
    seeds = {recipe: measured.losses[recipe]}
    own = next(iter(seeds[recipe].values()))
    against = measured.base if figure.endswith(("_drop", "_gain")) else _nothing(own)
    accuracy = figure.startswith("token_accuracy")
    found = loss_family(seeds, against, together=False, measure="correct" if accuracy else "loss").family
    if found is None:
        return None
    d = found.between(recipe, BASE)
    interval = Interval(value=d.delta, low=d.low, high=d.high, n=found.units)
    if figure == "perplexity":
        return _mapped(interval, math.exp)
    if accuracy:
        return _mapped(interval, lambda share: 100 * share)
    return _mapped(interval, lambda loss: -loss) if figure == "eval_loss_drop" else interval


def _nothing(like: ExampleLosses) -> ExampleLosses:
    """Losses of zero: a difference from them is the figure itself."""
    zeros = np.zeros(len(like.row))
    return replace(like, loss=zeros, correct=zeros.astype(np.int64))


def _mapped(interval: Interval, function: object) -> Interval:
    assert callable(function)
    low, high = sorted((function(interval.low), function(interval.high)))
    return Interval(value=function(interval.value), low=low, high=high, n=interval.n)


def _of_logs(figure: str, logs: Sequence[Sequence[TrainEvent]]) -> Interval | None:
    """The mean drop over replicates, or the smallest norm of all of them."""
    steps = [log for log in logs if log]
    if not steps:
        return None
    if figure == "grad_norm":
        norms = [event.grad_norm for log in steps for event in log if event.grad_norm is not None]
        value = min(norms, default=math.nan)
    else:
        value = float(np.mean([log[0].loss - log[-1].loss for log in steps]))
    return Interval(value=value, low=value, high=value, n=len(steps))


def _of_mtbench(figure: str, recipe: str, graded: Graded) -> Interval | None:
    """A mean of ratings or of raw scores, or its gain; None where the judge gave the other of the two."""
    seeds = graded.recipes.get(recipe, {})
    if _scale(seeds) != _scale_of(figure):
        return None
    own = next(iter(seeds.values()))
    zeros = [judgment.model_copy(update={"rating": 0.0, "raw": 0.0}) for judgment in own]
    against = graded.base if figure.endswith("_gain") else zeros
    family = rating_family({recipe: seeds}, against, together=False) if against else None
    if family is None:
        return None
    d = family.between(recipe, BASE)
    return Interval(value=d.delta, low=d.low, high=d.high, n=family.units)


def _scale(seeds: Mapping[int, Sequence[Judgment]]) -> str:
    """In what a judge graded: raw scores or ratings; "" where it gave no grade."""
    valid = [judgment for own in seeds.values() for judgment in own if judgment.is_valid]
    if not valid:
        return ""
    return "raw scores" if all(judgment.raw is not None for judgment in valid) else "ratings"


def _scale_of(figure: str) -> str:
    return "raw scores" if figure.startswith("mtbench_reward") else "ratings"


def _why_not(criterion: Criterion, recipe: str, graded: Graded) -> str:
    """Why a criterion on MT-Bench was not measured: answers were cut, or its judge gave another scale."""
    if not criterion.figure.startswith("mtbench"):
        return ""
    needed = (recipe, BASE) if criterion.figure.endswith("_gain") else (recipe,)
    if cut := [name for name in needed if name in graded.withheld]:
        return (
            f"withheld: over {MAX_CUT:.0%} of the answers of {' and '.join(cut)} were cut at the token limit"
        )
    found = _scale(graded.recipes.get(recipe, {}))
    return "" if found in ("", _scale_of(criterion.figure)) else f"the judge gave {found}"


def _difference(
    criterion: Criterion, recipe: str, comparison: Comparison | None, mtbench: RecipeFamily | None
) -> RecipeDifference | None:
    other = str(criterion.bound)
    family = mtbench if criterion.figure == "mtbench" else comparison.family if comparison else None
    if family is None or recipe not in family.means or other not in family.means:
        return None
    return family.between(recipe, other)


def _held(criterion: Criterion, d: RecipeDifference | None) -> Outcome:
    if d is None:
        return "not measured"
    if not d.covers_seeds or d.verdict == "tie":
        return "cannot tell"
    return "held" if (d.delta < 0) == (criterion.sign == "<") else "not held"


def _passed(criterion: Criterion, interval: Interval | None) -> Outcome:
    if interval is None or math.isnan(interval.value):
        return "not measured" if interval is None else "failed"
    bound = float(criterion.bound)
    above = criterion.sign == ">"
    if (interval.low > bound) if above else (interval.high < bound):
        return "passed"
    if (interval.high <= bound) if above else (interval.low >= bound):
        return "failed"
    return "cannot tell"


def _bounds(d: RecipeDifference) -> str:
    over = "examples and seeds" if d.covers_seeds else "one seed each"
    return f"{d.delta:+.4f}, 95% from {d.low:+.4f} to {d.high:+.4f}, {over}"


def _shown(interval: Interval) -> str:
    if interval.low == interval.high:
        return f"{interval.value:.4g}"
    return f"{interval.value:.4g}, 95% from {interval.low:.4g} to {interval.high:.4g}"
