"""Recipes, each with its replicates, compared on the units that all of them were measured on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from paceline.comparison.losses import Keys, example_keys
from paceline.runs.evaluations import CodeVerdict, Judgment, PairJudgment
from paceline.runs.losses import ExampleLosses
from paceline.stats.recipes import RecipeFamily, RecipeScores, compare_recipes
from paceline.stats.seed_noise import SeedNoise
from paceline.stats.verdict import Better

# What stands for the bare base among the recipes.
BASE = "base"
# What a figure itself is a difference from: zero on every unit.
ZERO = "zero"
Floats = NDArray[np.float64]
Measured = TypeVar("Measured")


@dataclass(frozen=True, kw_only=True)
class LossFamily:
    """Recipes' held-out losses on the examples that all of them share.

    `family` is None where there are no two such examples. `shared` are their keys. `apart` are recipes that
    share none with the first; `left_out` counts examples that some recipe holds out and another does not.
    """

    family: RecipeFamily | None
    shared: Keys
    apart: tuple[str, ...]
    left_out: int


def loss_family(
    recipes: Mapping[str, Mapping[int, ExampleLosses]],
    base: ExampleLosses | None,
    known: SeedNoise | None = None,
    together: bool = True,
    measure: Literal["loss", "correct"] = "loss",
    zero: bool = False,
) -> LossFamily:
    """Differences of mean losses in nats a token, of all recipes and the bare base; or of token accuracies.

    An example is one unit, since its tokens depend on each other; it is shared where all runs hold it out
    with as many supervised tokens.

    Args:
        recipes: {recipe: {seed: its losses}}, the baseline first.
        base: the bare base's, on the baseline's examples.
        known, together: as in `compare_recipes`.
        zero: whether ZERO is one of the family.
    """
    keys = {name: reduce(_intersection, _distinct(seeds.values())) for name, seeds in recipes.items()}
    first = next(iter(keys.values()))
    alike = {name: own for name, own in keys.items() if len(_intersection(first, own))}
    shared = reduce(_intersection, alike.values())
    if base is not None:
        shared = _intersection(shared, example_keys(base))
    measured = [losses for name in alike for losses in recipes[name].values()]
    every = reduce(np.union1d, _distinct(measured))
    totals = {
        name: {
            seed: getattr(losses, measure)[_places(losses, shared)] for seed, losses in recipes[name].items()
        }
        for name in alike
    }
    counts = measured[0].tokens[_places(measured[0], shared)]
    return LossFamily(
        family=_family(
            totals,
            None if base is None else getattr(base, measure)[_places(base, shared)],
            counts,
            "lower" if measure == "loss" else "higher",
            known,
            together,
            zero,
        ),
        shared=shared,
        apart=tuple(name for name in recipes if name not in alike),
        left_out=len(every) - len(shared),
    )


def only(losses: ExampleLosses, shared: Keys) -> ExampleLosses:
    """The losses of some examples of a run."""
    return losses if len(losses.row) == len(shared) else losses.at(_places(losses, shared))


def rating_family(
    recipes: Mapping[str, Mapping[int, Sequence[Judgment]]],
    base: Sequence[Judgment],
    known: SeedNoise | None = None,
    together: bool = True,
    zero: bool = False,
) -> RecipeFamily | None:
    """Differences of mean ratings over the turns that every run has a grade for; None without two questions.

    A question is one unit: its turns belong together. Raw scores count where the judge gives them (a reward
    model), since the rating that is made of them does not rise everywhere.
    """
    everyone = [base, *(judgments for seeds in recipes.values() for judgments in seeds.values())]
    graded = set.intersection(*({(j.id, j.turn) for j in own if j.is_valid} for own in everyone if own))
    questions = sorted({question for question, _ in graded})
    raw = all(j.raw is not None for own in everyone for j in own if (j.id, j.turn) in graded)

    def totals(judgments: Sequence[Judgment]) -> Floats:
        sums = dict.fromkeys(questions, 0.0)
        for judgment in judgments:
            if (judgment.id, judgment.turn) in graded:
                sums[judgment.id] += judgment.raw if raw and judgment.raw is not None else judgment.rating
        return np.asarray(list(sums.values()))

    turns = Counter(question for question, _ in graded)
    counts = np.asarray([turns[question] for question in questions])
    own = totals(base) if base else None
    return _family(_for_each(recipes, totals), own, counts, "higher", known, together, zero)


def preference_family(
    recipes: Mapping[str, Mapping[int, Sequence[PairJudgment]]], known: SeedNoise | None = None
) -> RecipeFamily | None:
    """Differences of win rates against the base over the turns that every run was compared on.

    A win is 1, a tie 1/2, a loss 0; the base itself is 1/2 everywhere. A question is one unit. None without
    two questions.
    """
    everyone = [judgments for seeds in recipes.values() for judgments in seeds.values()]
    compared = set.intersection(*({(j.id, j.turn) for j in own if j.outcome != "failed"} for own in everyone))
    turns = Counter(question for question, _ in compared)
    questions = sorted(turns)
    counts = np.asarray([turns[question] for question in questions], dtype=np.float64)

    def totals(judgments: Sequence[PairJudgment]) -> Floats:
        sums = dict.fromkeys(questions, 0.0)
        for judgment in judgments:
            if (judgment.id, judgment.turn) in compared:
                sums[judgment.id] += judgment.score
        return np.asarray(list(sums.values()))

    return _family(_for_each(recipes, totals), counts / 2, counts, "higher", known)


def pass_family(
    recipes: Mapping[str, Mapping[int, Sequence[CodeVerdict]]],
    base: Sequence[CodeVerdict],
    known: SeedNoise | None = None,
) -> RecipeFamily | None:
    """Differences of pass@1 over the tasks that every run answered; None without two tasks.

    A task is one unit; its samples are averaged first.
    """
    everyone = [base, *(verdicts for seeds in recipes.values() for verdicts in seeds.values())]
    tasks = sorted(set.intersection(*({verdict.id for verdict in own} for own in everyone if own)))

    def totals(verdicts: Sequence[CodeVerdict]) -> Floats:
        answers: dict[str, list[bool]] = defaultdict(list)
        for verdict in verdicts:
            answers[verdict.id].append(verdict.passed)
        return np.asarray([float(np.mean(answers[task])) for task in tasks])

    counts = np.ones(len(tasks))
    return _family(_for_each(recipes, totals), totals(base) if base else None, counts, "higher", known)


def _for_each(
    recipes: Mapping[str, Mapping[int, Measured]], totals: Callable[[Measured], Floats]
) -> dict[str, dict[int, Floats]]:
    return {name: {seed: totals(own) for seed, own in seeds.items()} for name, seeds in recipes.items()}


def _family(
    recipes: Mapping[str, Mapping[int, Floats]],
    base: Floats | None,
    counts: NDArray[np.number],
    better: Better,
    known: SeedNoise | None,
    together: bool = True,
    zero: bool = False,
) -> RecipeFamily | None:
    """The family of recipes, totals by seed of shape (units,), of a base if there is one, and of ZERO."""
    scores = [
        RecipeScores(
            name=name,
            seeds=tuple(sorted(seeds)),
            totals=np.stack([seeds[seed] for seed in sorted(seeds)]),
        )
        for name, seeds in recipes.items()
    ]
    if base is not None:
        scores.append(RecipeScores(name=BASE, seeds=(), totals=base[None]))
    if zero:
        scores.append(RecipeScores(name=ZERO, seeds=(), totals=np.zeros((1, len(counts)))))
    if len(counts) < 2 or len(scores) < 2:
        return None
    return compare_recipes(scores, counts.astype(np.float64), better=better, known=known, together=together)


def _distinct(losses: Iterable[ExampleLosses]) -> list[Keys]:
    """The keys of some runs, those of the same examples once."""
    return list({id(keys): keys for keys in map(example_keys, losses)}.values())


def _intersection(left: Keys, right: Keys) -> Keys:
    return np.asarray(np.intersect1d(left, right, assume_unique=True))


def _places(losses: ExampleLosses, shared: Keys) -> NDArray[np.int64]:
    """Where the shared examples stand among a run's."""
    keys = example_keys(losses)
    order = np.argsort(keys)
    return np.asarray(order[np.searchsorted(keys, shared, sorter=order)])
