"""Conclusions, each drawn from numbers that the report's tables hold."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paceline.comparison.recipes import BASE
from paceline.comparison.table import gain
from paceline.report.collect import RunFacts, StudyFacts
from paceline.report.published import reasons
from paceline.runs.evaluation_status import not_evaluated
from paceline.stats.recipes import RecipeDifference, RecipeFamily


@dataclass(frozen=True)
class Conclusion:
    """A sentence, and the runs that it is about."""

    text: str
    runs: tuple[str, ...]


def conclusions(study: StudyFacts) -> list[str]:
    """Sentences about what the study shows, most important first; nothing that no number says."""
    return [conclusion.text for conclusion in _all(study)]


def conclusions_about(study: StudyFacts, run: str) -> list[str]:
    """Those that concern one run."""
    return [conclusion.text for conclusion in _all(study) if run in conclusion.runs]


def _all(study: StudyFacts) -> list[Conclusion]:
    drawn = _losses(study)
    drawn += [Conclusion(caveat.text, caveat.recipes) for caveat in study.caveats]
    drawn += [
        Conclusion(f"Not comparable with the published figures: {', '.join(runs)} ({why}).", tuple(runs))
        for why, runs in (reasons(study.published) if study.comparison else {}).items()
    ]
    drawn += _evaluations(study)
    missing = [status for status in study.evaluations if not status.done]
    runs = tuple(dict.fromkeys(status.run for status in missing))
    drawn += [Conclusion(f"{sentence}.", runs) for sentence in not_evaluated(missing)]
    for run in study.runs:
        if best := _best_step(run):
            drawn.append(Conclusion(best, (run.name,)))
    return drawn


def _losses(study: StudyFacts) -> list[Conclusion]:
    comparison = study.comparison
    if comparison is None:
        return [Conclusion("No run has finished: there is nothing to conclude.", ())]
    leader = comparison.best[0]
    row = next(row for row in comparison.rows if row.name == leader)
    if leader in study.other_bases:
        start = f"{leader}: held-out loss {row.eval_loss:.4f}; its base is {study.other_bases[leader]}"
        drawn = [Conclusion(f"{start}, not the baseline's, and no change from that one is given.", (leader,))]
    else:
        drawn = [Conclusion(gain(row, comparison.base_loss), (leader,))]
    if comparison.from_best:
        drawn.append(Conclusion(comparison.conclusion(), tuple(row.name for row in comparison.rows)))
    for name, d in sorted(comparison.from_best.items(), key=lambda item: item[1].delta):
        text = _against_leader(leader, name, d.turned(), comparison.examples)
        drawn.append(Conclusion(text, (leader, name)))
    for row in comparison.rows:
        if row.name not in comparison.from_best and row.name != leader:
            text = f"{row.name} shares no held-out example with {leader}: the two are not compared."
            drawn.append(Conclusion(text, (leader, row.name)))
    if needed := comparison.needed():
        drawn.append(Conclusion(needed, tuple(row.name for row in comparison.rows)))
    return drawn


def _against_leader(leader: str, name: str, d: RecipeDifference, examples: int) -> str:
    """Of the leader's loss minus the other's: below zero, as in the tables, is lower."""
    size = f"{d.delta:+.4f}, 95% from {d.low:+.4f} to {d.high:+.4f} nats a token; {examples:,} examples"
    if d.verdict == "tie":
        what = "" if d.covers_seeds else "the adapters of "
        return f"{what}{leader} and {name} cannot be told apart ({size})."
    if d.covers_seeds:
        return f"{leader} beats {name} ({size}, over seeds too)."
    return f"The adapters of {leader} and {name} differ ({size}, one seed)."


def _evaluations(study: StudyFacts) -> list[Conclusion]:
    """What each recipe changes in what else was measured, against the base and against the baseline."""
    families = study.families
    drawn = [Conclusion(text, (name,)) for name, text in families.withheld]
    if families.mtbench:
        judge = next(run.mtbench.judge for run in study.runs if run.mtbench)
        raw = any(run.mtbench.runs[run.name].raw is not None for run in study.runs if run.mtbench)
        what = "the raw reward on MT-Bench" if raw else "the MT-Bench score"
        drawn += _changes(study, families.mtbench, what, "+.2f", 1, f"; judge {judge}")
    if families.pairwise:
        drawn += _preferences(families.pairwise)
    for suite, family in families.code.items():
        drawn += _changes(study, family, f"the share of {suite} tasks passed", "+.1f", 100, " points")
    if families.forgetting:
        drawn += _changes(study, families.forgetting, "the loss on general rows", "+.4f", 1, "")
    return drawn


def _preferences(family: RecipeFamily) -> list[Conclusion]:
    """One sentence a recipe on whose answers a judge preferred, where one half is that of equals."""
    drawn = []
    for name in family.means:
        if name == BASE:
            continue
        d = family.between(name, BASE)
        share, low, high = (f"{50 + 100 * value:.1f}" for value in (d.delta, d.low, d.high))
        who = f"the MT-Bench answers of {name if d.covers_seeds else f'the adapter of {name}'}"
        if d.verdict == "tie":
            text = f"Neither {who} nor the base's are preferred"
        else:
            better, worse = (who, "the base's") if d.delta > 0 else ("The base's answers", who)
            text = f"{better[0].upper()}{better[1:]} are preferred to {worse}"
        drawn.append(
            Conclusion(f"{text} ({share}% of them and half of the ties, 95% from {low} to {high}).", (name,))
        )
    return drawn


def _changes(
    study: StudyFacts, family: RecipeFamily, measure: str, form: str, scale: float, unit: str
) -> list[Conclusion]:
    """One sentence a recipe on its change from the base, one where it is told from the baseline."""
    baseline, drawn = study.recipes[0].name, []
    for name in family.means:
        if name == BASE:
            continue
        if BASE in family.means and name not in study.other_bases:
            text = f"{_verb(name, family.between(name, BASE))} {measure}"
            drawn.append(Conclusion(f"{text} ({_bounds(family, name, BASE, form, scale, unit)}).", (name,)))
        if name == baseline or baseline not in family.means:
            continue
        d = family.between(name, baseline)
        if d.verdict in ("better", "worse"):
            more = "higher" if d.delta > 0 else "lower"
            text = f"{measure} of {name} is {more} than that of {baseline}"
            bounds = _bounds(family, name, baseline, form, scale, unit)
            drawn.append(Conclusion(f"{text[0].upper()}{text[1:]} ({bounds}).", (name, baseline)))
    return drawn


def _verb(name: str, d: RecipeDifference) -> str:
    who = name if d.covers_seeds else f"the adapter of {name}"
    if d.verdict == "tie":
        return f"{who} does not measurably change"
    return f"{who} {'raises' if d.delta > 0 else 'lowers'}"


def _bounds(family: RecipeFamily, first: str, second: str, form: str, scale: float, unit: str) -> str:
    d = family.between(first, second)
    delta, low, high = (format(scale * value, form) for value in (d.delta, d.low, d.high))
    return f"{delta}, 95% from {low} to {high}{unit}"


def _best_step(run: RunFacts) -> str | None:
    """Where a run was better before its end than at its end."""
    best, steps = run.status.best_step, run.status.step
    if run.state != "finished" or run.final is None or not run.recipe.eval_steps:
        return None
    if not best or not steps or best >= steps:
        return None
    lowest = min(event.loss for event in run.evals if math.isfinite(event.loss))
    return (
        f"{run.name} was best at step {best:,} of {steps:,} "
        f"({lowest:.4f} against {run.final.loss:.4f} at its end)."
    )
