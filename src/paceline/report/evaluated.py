"""Rows of the report's tables of evaluations: MT-Bench, code that was run, what was forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from paceline.comparison.recipes import BASE
from paceline.report.by_recipe import Mean, RecipeRow, RecipeRuns, having, interval, mean, means
from paceline.report.collect import RunFacts, StudyFacts
from paceline.runs.evaluations import CodeScores, MTBenchScores, PairwiseScores, RunForgetting
from paceline.stats.paired import Difference
from paceline.stats.recipes import RecipeDifference, RecipeFamily

Change = RecipeDifference | Difference
# The base as a recipe without runs.
_NOT_TRAINED = RecipeRuns(name=BASE, runs=(), seeds=(), planned=0)


@dataclass(frozen=True, kw_only=True)
class MTBenchRow(RecipeRow):
    """A recipe's grades: means over its replicates, `failed` and `cut` of all of them (None: not counted).

    `change` is from the base, `from_baseline` from the baseline; `withheld` says why nothing is said.
    """

    average: Mean
    turns: dict[str, float]
    categories: dict[str, float]
    raw: float | None
    change: Change | None
    withheld: str
    from_baseline: RecipeDifference | None
    failed: int
    cut: int | None


@dataclass(frozen=True, kw_only=True)
class PairRow(RecipeRow):
    """How often a recipe's answers were preferred to the base's; counts are of all replicates."""

    win_rate: Mean
    verdict: str
    withheld: str
    from_baseline: RecipeDifference | None
    wins: int
    ties: int
    losses: int
    swayed: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class CodeRow(RecipeRow):
    """A recipe's executable tasks of one suite."""

    suite: str
    tasks: int
    pass_at_1: Mean
    compile_rate: float | None
    change: Change | None
    withheld: str
    from_baseline: RecipeDifference | None


@dataclass(frozen=True, kw_only=True)
class ForgettingRow(RecipeRow):
    """A recipe's loss on general rows, in nats a token, and how far it moved from the base (KL)."""

    base: float
    loss: Mean
    change: Change | None
    kl: float | None


def mtbench_rows(study: StudyFacts) -> list[MTBenchRow]:
    """The base once, then every recipe that was asked."""
    base = next((found for run in study.runs if (found := _scores(run, BASE))), None)
    rows = [_mtbench_row(study, _NOT_TRAINED, [base])] if base else []
    return rows + [_mtbench_row(study, recipe, _all_scores(recipe)) for recipe in _judged(study)]


def _judged(study: StudyFacts) -> Iterator[RecipeRuns]:
    return having(study, lambda run: _scores(run, run.name))


def _all_scores(recipe: RecipeRuns) -> list[MTBenchScores]:
    return [own for run in recipe.runs if (own := _scores(run, run.name))]


def _scores(run: RunFacts, of: str) -> MTBenchScores | None:
    return run.mtbench.runs.get(of) if run.mtbench else None


def _mtbench_row(study: StudyFacts, recipe: RecipeRuns, scores: Sequence[MTBenchScores]) -> MTBenchRow:
    cuts = [own.cut for own in scores if own.cut is not None]
    raws = [own.raw for own in scores if own.raw is not None]
    change, withheld = _from_base(study, study.families.mtbench, recipe.name, scores)
    averages = [interval(own.average) for own in scores]
    return MTBenchRow(
        recipe=recipe.name,
        seeds_shown=recipe.seeds_shown,
        by_seed=recipe.by_seed(averages),
        average=mean([own.average.value for own in scores], averages, ".2f"),
        turns=means([own.turns for own in scores]),
        categories=means([own.categories for own in scores]),
        raw=fmean(raws) if len(raws) == len(scores) else None,
        change=change,
        withheld=withheld,
        from_baseline=_from_baseline(study, study.families.mtbench, recipe.name),
        failed=sum(own.failed for own in scores),
        cut=sum(cuts) if len(cuts) == len(scores) else None,
    )


def pair_rows(study: StudyFacts) -> list[PairRow]:
    """Every recipe whose answers were compared with the base's."""
    rows = []
    for recipe in _judged(study):
        scores = _all_scores(recipe)
        pairs = [own.pairwise for own in scores if own.pairwise]
        if len(pairs) == len(scores):
            rows.append(_pair_row(study, recipe, scores, pairs))
    return rows


def _pair_row(
    study: StudyFacts,
    recipe: RecipeRuns,
    scores: Sequence[MTBenchScores],
    pairs: Sequence[PairwiseScores],
) -> PairRow:
    family = study.families.pairwise
    alone = len(pairs) == 1
    d = family.between(recipe.name, BASE) if family and recipe.name in family.means and not alone else None
    rates = [interval(own.win_rate) for own in pairs]
    return PairRow(
        recipe=recipe.name,
        seeds_shown=recipe.seeds_shown,
        by_seed=recipe.by_seed(
            f"{rate}, {own.wins} / {own.ties} / {own.losses}" for rate, own in zip(rates, pairs, strict=True)
        ),
        win_rate=mean([own.win_rate.value for own in pairs], rates, ".2f"),
        verdict=d.verdict if d else pairs[0].verdict if alone else "",
        withheld="" if d else _withheld(scores),
        from_baseline=_from_baseline(study, family, recipe.name),
        wins=sum(own.wins for own in pairs),
        ties=sum(own.ties for own in pairs),
        losses=sum(own.losses for own in pairs),
        swayed=sum(own.swayed for own in pairs),
        failed=sum(own.failed for own in pairs),
    )


def code_rows(study: StudyFacts) -> list[CodeRow]:
    """The base once a suite, then every recipe."""
    rows = []
    for suite in dict.fromkeys(suite for run in study.runs for suite in run.code):
        results = [run.code[suite] for run in study.runs if suite in run.code]
        if base := next((result.runs[BASE] for result in results if BASE in result.runs), None):
            rows.append(_code_row(study, suite, results[0].tasks, _NOT_TRAINED, [base]))
        for recipe in having(study, lambda run, suite=suite: suite in run.code):  # type: ignore[misc]
            own = [run.code[suite].runs[run.name] for run in recipe.runs]
            rows.append(_code_row(study, suite, recipe.runs[0].code[suite].tasks, recipe, own))
    return rows


def _code_row(
    study: StudyFacts, suite: str, tasks: int, recipe: RecipeRuns, scores: Sequence[CodeScores]
) -> CodeRow:
    family = study.families.code.get(suite)
    change, withheld = _from_base(study, family, recipe.name, scores)
    shares = [interval(own.pass_at_1) for own in scores]
    compiled = [own.compile_rate.value for own in scores if own.compile_rate]
    return CodeRow(
        recipe=recipe.name,
        seeds_shown=recipe.seeds_shown,
        by_seed=recipe.by_seed(shares),
        suite=suite,
        tasks=tasks,
        pass_at_1=mean([own.pass_at_1.value for own in scores], shares, ".2f"),
        compile_rate=fmean(compiled) if len(compiled) == len(scores) else None,
        change=change,
        withheld=withheld,
        from_baseline=_from_baseline(study, family, recipe.name),
    )


def forgetting_rows(study: StudyFacts) -> list[ForgettingRow]:
    """Every recipe whose loss on general rows was measured."""
    rows = []
    for recipe in having(study, lambda run: run.forgetting):
        own = [run.forgetting for run in recipe.runs if run.forgetting]
        changes = [f"{f.run.loss:.4f} ({f.change.delta:+.4f}, {f.change.verdict})" for f in own]
        kls = [f.run.kl for f in own if f.run.kl is not None]
        rows.append(
            ForgettingRow(
                recipe=recipe.name,
                seeds_shown=recipe.seeds_shown,
                by_seed=recipe.by_seed(changes),
                base=own[0].base.loss,
                loss=mean([f.run.loss for f in own], [f"{own[0].run.loss:.4f}"], ".4f"),
                change=_forgotten(study, recipe.name, own),
                kl=fmean(kls) if len(kls) == len(own) else None,
            )
        )
    return rows


def _forgotten(study: StudyFacts, name: str, own: Sequence[RunForgetting]) -> Change | None:
    """The recipe's change over its replicates, or the one run's own; None: of another base, over several."""
    family = study.families.forgetting
    if len(own) > 1 and name in study.other_bases:
        return None
    if len(own) > 1 and family and name in family.means and BASE in family.means:
        return family.between(name, BASE)
    return own[0].change


def _from_base(
    study: StudyFacts,
    family: RecipeFamily | None,
    name: str,
    scores: Sequence[MTBenchScores] | Sequence[CodeScores],
) -> tuple[Change | None, str]:
    """A recipe's change from the base over its replicates, or the one run's own; or why there is none."""
    if len(scores) > 1 and name in study.other_bases:
        return None, "no verdict: its base is not the baseline's"
    if len(scores) > 1 and family and name in family.means and BASE in family.means:
        return family.between(name, BASE), ""
    withheld = _withheld(scores)
    return (scores[0].change if len(scores) == 1 and not withheld else None), withheld


def _withheld(scores: Sequence[MTBenchScores] | Sequence[CodeScores]) -> str:
    """Why nothing is said of a change; of several replicates, with what was cut of all of them."""
    reason = next((own.withheld for own in scores if own.withheld), "")
    if len(scores) == 1 or not reason:
        return reason
    return f"no verdict: {sum(own.cut or 0 for own in scores)} answers of all seeds cut"


def _from_baseline(study: StudyFacts, family: RecipeFamily | None, name: str) -> RecipeDifference | None:
    """A recipe's difference from the baseline; None for the baseline and the base."""
    baseline = study.recipes[0].name
    if family is None or name in (BASE, baseline) or not {name, baseline} <= family.means.keys():
        return None
    return family.between(name, baseline)
