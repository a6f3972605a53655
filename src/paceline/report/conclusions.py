"""Conclusions, each drawn from numbers that the report's tables hold."""

from __future__ import annotations

import math

from paceline.report.collect import RunFacts, StudyFacts
from paceline.stats.paired import Difference


def conclusions(study: StudyFacts) -> list[str]:
    """Sentences about what the study shows, most important first; nothing that no number says."""
    found = _losses(study) + _code(study)
    for run in study.runs:
        found += _of_run(run)
    return found


def _code(study: StudyFacts) -> list[str]:
    """What share of the tasks each run passes, where it is not the same for all."""
    found = []
    for suite in dict.fromkeys(suite for run in study.runs for suite in run.code):
        results = [run.code[suite] for run in study.runs if suite in run.code]
        rates = {name: part["pass@1"]["value"] for result in results for name, part in result["runs"].items()}
        tasks, base = results[0]["tasks"], rates.get("base")
        if len(rates) > 1 and len(set(rates.values())) == 1:
            found.append(
                f"All runs{' and the base' if base is not None else ''} pass {next(iter(rates.values())):.1%} of {tasks} {suite} tasks."
            )
            continue
        against = "" if base is None else f", the base {base:.1%}"
        found += [
            f"{name} passes {rate:.1%} of {tasks} {suite} tasks{against}."
            for name, rate in rates.items()
            if name != "base"
        ]
    return found


def _losses(study: StudyFacts) -> list[str]:
    if study.comparison is None:
        return ["No run has finished: there is nothing to conclude."]
    rows = {row.name: row for row in study.comparison.rows}
    leader = study.comparison.best[0]
    base = study.comparison.base_loss
    gained = base - rows[leader].eval_loss
    found = [
        f"{leader} lowers the base's held-out loss by {gained:.3f}, from {base:.4f} to {rows[leader].eval_loss:.4f} nats a token."
    ]
    beaten = {name: pair for name, pair in study.pairs.items() if pair.verdict == "worse"}
    tied = {name: pair for name, pair in study.pairs.items() if pair.verdict == "tie"}
    for name, pair in sorted(beaten.items(), key=lambda item: item[1].delta):
        found.append(
            f"{leader} beats {name} by {pair.delta:.3f} ± {half_width(pair):.3f} nats a token ({pair.examples:,} examples, 95%)."
        )
    for name, pair in sorted(tied.items(), key=lambda item: item[1].delta):
        found.append(
            f"{leader} and {name} cannot be told apart with {pair.examples:,} examples ({-pair.delta:+.3f} ± {half_width(pair):.3f}); {_needed(pair)}"
        )
    others = [name for name in rows if name not in study.pairs and name != leader]
    return found + [
        f"{name} shares no held-out example with {leader}: the two are not compared." for name in others
    ]


def half_width(pair: Difference) -> float:
    """Half of a 95% interval, in nats a token."""
    return (pair.high - pair.low) / 2


def _needed(pair: Difference) -> str:
    """How many examples would tell two runs apart if their difference stayed: an interval shrinks with the square root of their number."""
    if not math.isfinite(half_width(pair)) or pair.delta == 0:
        return "their losses are the same." if pair.delta == 0 else "one example says nothing."
    examples = pair.examples * (half_width(pair) / abs(pair.delta)) ** 2
    return (
        f"about {_round_up(examples):,} would be needed."
        if examples < 1e6
        else "more than a million would be needed."
    )


def _round_up(value: float) -> int:
    """To two significant digits."""
    step = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return int(math.ceil(value / step) * step)


def _of_run(run: RunFacts) -> list[str]:
    found = []
    if run.state == "failed":
        found.append(f"{run.name} failed: {run.status.reason or 'no reason is logged'}.")
    best, steps = run.status.best_step, run.status.step
    if run.state == "finished" and run.final and best and steps and best < steps and run.recipe.eval_steps:
        lowest = min(event.loss for event in run.evals if math.isfinite(event.loss))
        found.append(
            f"{run.name} was best at step {best:,} of {steps:,} ({lowest:.4f} against {run.final.loss:.4f} at its end)."
        )
    if run.mtbench and "change" in (scores := run.mtbench["runs"].get(run.name, {})):
        change = scores["change"]
        told = {"better": "raises", "worse": "lowers", "tie": "does not measurably change"}[change["verdict"]]
        found.append(
            f"{run.name} {told} the MT-Bench score ({change['value']:+.2f}, 95% from {change['low']:+.2f} to {change['high']:+.2f}; judge {run.mtbench['judge']})."
        )
    if run.forgetting:
        figures, change = run.forgetting
        told = {"better": "lower", "worse": "higher", "tie": "not measurably different"}[change.verdict]
        found.append(
            f"On {figures['rows']} rows of {figures['source']} the loss of {run.name} is {told} than the base's ({change.delta:+.4f}, 95% from {change.low:+.4f} to "
            f"{change.high:+.4f}); its predictions moved by {figures['run']['kl']:.4f} nats a token."
        )
    return found
