"""What was said in advance, held against the figures: hypotheses, and criteria of success."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import fmean
from typing import Literal

import numpy as np

from paceline.comparison.recipes import BASE, ZERO, loss_family, rating_family
from paceline.comparison.table import Comparison
from paceline.config.criteria import Criterion
from paceline.report.families import Graded
from paceline.runs.evaluations import Judgment
from paceline.runs.events import EvalEvent, TrainEvent
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import StudyRecord
from paceline.stats.recipes import RecipeDifference, RecipeFamily
from paceline.stats.seed_noise import SeedNoise

Measure = Literal["loss", "correct", "mtbench"]
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
class Log:
    """The logged steps and the evaluations of one run."""

    train: Sequence[TrainEvent] = ()
    evals: Sequence[EvalEvent] = ()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What criteria are held against: losses and grades by recipe and seed, and logs by recipe.

    `bases` are the losses of each recipe's own bare base. The base of the grades is the baseline's, so those
    of `other_bases` {recipe: its base} show no gain. `noise` is the seeds' of each measure, as other recipes
    of the study or an earlier study show it: a recipe with one seed takes it over.
    """

    losses: Mapping[str, Mapping[int, ExampleLosses]]
    bases: Mapping[str, ExampleLosses | None]
    logs: Mapping[str, Sequence[Log]]
    mtbench: Graded
    noise: Mapping[Measure, SeedNoise | None] = field(default_factory=dict)
    other_bases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A recipe's figure with its 95% interval, over examples and, where that is said, seeds."""

    value: float
    low: float
    high: float
    covers_seeds: bool


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
            figure = figure_of(criterion, entry.recipe_name, measured)
            judged.append(
                Judged(
                    recipe=entry.recipe_name,
                    claim="",
                    criterion=str(criterion),
                    outcome=_passed(criterion, figure),
                    number=_why_not(criterion, entry.recipe_name, measured)
                    if figure is None
                    else _shown(figure),
                )
            )
    return judged


def figure_of(criterion: Criterion, recipe: str, measured: Measured) -> Figure | None:
    """A criterion's figure of a recipe with its 95% interval by itself, over examples and seeds.

    The seeds' noise is its replicates', or, where it has none, the one that is known of others (`noise`).
    What is read from a log alone has no interval: its bounds are the value. None: not measured.
    """
    figure = criterion.figure
    if figure in ("train_loss_drop", "grad_norm", "eval_loss_rises"):
        return _of_logs(criterion, measured.logs.get(recipe, ()))
    is_change = figure.endswith(("_drop", "_gain"))
    if figure.startswith("mtbench"):
        family = _graded_family(figure, recipe, measured, is_change=is_change)
    else:
        family = _loss_family(figure, recipe, measured)
    against = BASE if is_change else ZERO
    if family is None or against not in family.means:
        return None
    d = family.between(recipe, against)
    found = Figure(value=d.delta, low=d.low, high=d.high, covers_seeds=d.covers_seeds)
    if figure == "perplexity":
        return _mapped(found, math.exp)
    if figure.startswith("token_accuracy"):
        return _mapped(found, lambda share: 100 * share)
    return _mapped(found, lambda loss: -loss) if figure == "eval_loss_drop" else found


def _loss_family(figure: str, recipe: str, measured: Measured) -> RecipeFamily | None:
    measure: Literal["loss", "correct"] = "correct" if figure.startswith("token_accuracy") else "loss"
    return loss_family(
        {recipe: measured.losses[recipe]},
        measured.bases.get(recipe),
        measured.noise.get(measure),
        together=False,
        measure=measure,
        zero=True,
    ).family


def _mapped(figure: Figure, function: Callable[[float], float]) -> Figure:
    low, high = sorted((function(figure.low), function(figure.high)))
    return replace(figure, value=function(figure.value), low=low, high=high)


def _of_logs(criterion: Criterion, logs: Sequence[Log]) -> Figure | None:
    """The replicates' mean drop, the smallest norm of all of them, or the most rises of any."""
    if criterion.figure == "train_loss_drop":
        values = [drop for log in logs if (drop := _drop(log.train, criterion.by)) is not None]
        value = fmean(values) if values else None
    elif criterion.figure == "eval_loss_rises":
        values = [_rises(log.evals) for log in logs if len(log.evals) > 1]
        value = max(values, default=None)
    else:
        values = [_smallest_norm(log.train) for log in logs if log.train]
        value = float(np.min(values)) if values else None  # one that is NaN decides
    if value is None:
        return None
    return Figure(value=value, low=value, high=value, covers_seeds=len(values) > 1)


def _drop(train: Sequence[TrainEvent], by: int | None) -> float | None:
    """None where fewer than two lines came by that step."""
    counted = [event.loss for event in train if by is None or event.step <= by]
    return counted[0] - counted[-1] if len(counted) > 1 else None


def _rises(evals: Sequence[EvalEvent]) -> float:
    """How often a later step's loss is above the one before; one that is not finite is."""
    on_the_way = [event.loss for event in evals if event.name != "best"]
    return float(sum(not after <= before for before, after in pairwise(on_the_way)))


def _smallest_norm(train: Sequence[TrainEvent]) -> float:
    return min((event.grad_norm for event in train if event.grad_norm is not None), default=math.nan)


def _graded_family(figure: str, recipe: str, measured: Measured, *, is_change: bool) -> RecipeFamily | None:
    """Ratings or raw scores; None where the judge gave the other of the two, or the base's are missing."""
    graded = measured.mtbench
    seeds = graded.recipes.get(recipe, {})
    if _scale(seeds) != _scale_of(figure) or (
        is_change and (not graded.base or recipe in measured.other_bases)
    ):
        return None
    known = measured.noise.get("mtbench")
    base = graded.base if is_change or known else ()  # else its missing grades would take away from the mean
    return rating_family({recipe: seeds}, base, known, together=False, zero=True)


def _scale(seeds: Mapping[int, Sequence[Judgment]]) -> str:
    """In what a judge graded: raw scores or ratings; "" where it gave no grade."""
    valid = [judgment for own in seeds.values() for judgment in own if judgment.is_valid]
    if not valid:
        return ""
    return "raw scores" if all(judgment.raw is not None for judgment in valid) else "ratings"


def _scale_of(figure: str) -> str:
    return "raw scores" if figure.startswith("mtbench_reward") else "ratings"


def _why_not(criterion: Criterion, recipe: str, measured: Measured) -> str:
    """Why a criterion on MT-Bench was not measured: withheld, another scale, another base."""
    if not criterion.figure.startswith("mtbench"):
        return ""
    is_change, graded = criterion.figure.endswith("_gain"), measured.mtbench
    needed = (recipe, BASE) if is_change else (recipe,)
    if withheld := [graded.withheld[name] for name in needed if name in graded.withheld]:
        return " ".join(withheld)
    found = _scale(graded.recipes.get(recipe, {}))
    if found not in ("", _scale_of(criterion.figure)):
        return f"the judge gave {found}"
    return (
        f"its base is {measured.other_bases[recipe]}" if is_change and recipe in measured.other_bases else ""
    )


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


def _passed(criterion: Criterion, figure: Figure | None) -> Outcome:
    if figure is None or math.isnan(figure.value):
        return "not measured" if figure is None else "failed"
    bound = float(criterion.bound)
    above = criterion.sign == ">"
    if (figure.low > bound) if above else (figure.high < bound):
        return "passed"
    if (figure.high <= bound) if above else (figure.low >= bound):
        return "failed"
    return "cannot tell"


def _bounds(d: RecipeDifference) -> str:
    over = "examples and seeds" if d.covers_seeds else "one seed each"
    return f"{d.delta:+.4f}, 95% from {d.low:+.4f} to {d.high:+.4f}, {over}"


def _shown(figure: Figure) -> str:
    alone = "" if figure.covers_seeds else ", this adapter (one seed)"
    if figure.low == figure.high:
        return f"{figure.value:.4g}{alone}"
    return f"{figure.value:.4g}, 95% from {figure.low:.4g} to {figure.high:.4g}{alone}"
