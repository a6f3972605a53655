"""Conclusions, each drawn from numbers that the report's tables hold."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paceline.report.collect import BASE, RunFacts, StudyFacts
from paceline.runs.evaluation_status import not_evaluated
from paceline.runs.evaluations import CodeSummary
from paceline.stats.paired import Difference
from paceline.stats.power import units_needed


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
    drawn = _losses(study) + _code(study)
    missing = [status for status in study.evaluations if not status.done]
    runs = tuple(dict.fromkeys(status.run for status in missing))
    drawn += [Conclusion(f"{sentence}.", runs) for sentence in not_evaluated(missing)]
    for run in study.runs:
        drawn += [Conclusion(text, (run.name,)) for text in _of_run(run)]
    return drawn


def _losses(study: StudyFacts) -> list[Conclusion]:
    if study.comparison is None:
        return [Conclusion("No run has finished: there is nothing to conclude.", ())]
    leader = study.comparison.best[0]
    drawn = [Conclusion(study.comparison.gain_sentence(), (leader,))]
    by_delta = sorted(study.pairs.items(), key=lambda item: item[1].delta)
    for name, pair in by_delta:
        if pair.verdict == "worse":
            text = (
                f"{leader} beats {name} by {pair.delta:.3f} ± {pair.half_width:.3f} nats a token "
                f"({pair.n:,} examples, 95%)."
            )
            drawn.append(Conclusion(text, (leader, name)))
    for name, pair in by_delta:
        if pair.verdict == "tie":
            text = (
                f"{leader} and {name} cannot be told apart with {pair.n:,} examples "
                f"({-pair.delta:+.3f} ± {pair.half_width:.3f}); {_needed(pair)}"
            )
            drawn.append(Conclusion(text, (leader, name)))
    for row in study.comparison.rows:
        if row.name not in study.pairs and row.name != leader:
            text = f"{row.name} shares no held-out example with {leader}: the two are not compared."
            drawn.append(Conclusion(text, (leader, row.name)))
    return drawn


def _needed(pair: Difference) -> str:
    """How many examples would tell two runs apart, if their difference stayed what it is."""
    if pair.delta == 0:
        return "their losses are the same."
    if not math.isfinite(pair.half_width):
        return "one example says nothing."
    needed = units_needed(pair)
    amount = f"about {_round_up(needed):,}" if needed < 1e6 else "more than a million"
    return f"{amount} would be needed."


def _round_up(value: float) -> int:
    """To two significant digits."""
    step = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return int(math.ceil(value / step) * step)


def _code(study: StudyFacts) -> list[Conclusion]:
    """What share of the tasks each run passes against the base, and against the baseline run."""
    drawn = []
    for suite in dict.fromkeys(suite for run in study.runs for suite in run.code):
        results = [run.code[suite] for run in study.runs if suite in run.code]
        drawn += _code_against_base(results)
        baseline = study.runs[0].name
        for name, difference in study.from_baseline.code.get(suite, {}).items():
            if difference.verdict != "tie":
                more = "more" if difference.delta > 0 else "fewer"
                text = f"{name} passes {more} {suite} tasks than {baseline} ({_bounds(difference)})."
                drawn.append(Conclusion(text, (name, baseline)))
    return drawn


def _code_against_base(results: list[CodeSummary]) -> list[Conclusion]:
    scores = {name: scores for result in results for name, scores in result.runs.items()}
    rates = {name: own.pass_at_1.value for name, own in scores.items()}
    tasks, suite, base = results[0].tasks, results[0].suite, rates.get(BASE)
    if len(rates) > 1 and len(set(rates.values())) == 1:
        who = "All runs and the base" if base is not None else "All runs"
        names = tuple(name for name in rates if name != BASE)
        return [Conclusion(f"{who} pass {next(iter(rates.values())):.1%} of {tasks} {suite} tasks.", names)]
    drawn = []
    for name, own in scores.items():
        if name == BASE:
            continue
        text = f"{name} passes {rates[name]:.1%} of {tasks} {suite} tasks"
        if base is not None:
            text += f", the base {base:.1%}"
        if own.change is not None:
            text += f": {_CODE_VERDICT[own.change.verdict]} ({_bounds(own.change)})"
        drawn.append(Conclusion(f"{text}.", (name,)))
    return drawn


_CODE_VERDICT = {
    "better": "measurably more",
    "worse": "measurably fewer",
    "tie": "the two cannot be told apart",
}


def _bounds(difference: Difference) -> str:
    """A difference of shares with its interval, in percentage points."""
    delta, low, high = (100 * value for value in (difference.delta, difference.low, difference.high))
    return f"{delta:+.1f} points, 95% from {low:+.1f} to {high:+.1f}"


def _of_run(run: RunFacts) -> list[str]:
    return [text for text in (_failure(run), _best_step(run), _mtbench(run), _forgetting(run)) if text]


def _failure(run: RunFacts) -> str | None:
    if run.state != "failed":
        return None
    return f"{run.name} failed: {run.status.reason or 'no reason is logged'}."


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


def _mtbench(run: RunFacts) -> str | None:
    scores = run.mtbench.runs.get(run.name) if run.mtbench else None
    if run.mtbench is None or scores is None or scores.change is None:
        return None
    change = scores.change
    verb = {"better": "raises", "worse": "lowers", "tie": "does not measurably change"}[change.verdict]
    what = "MT-Bench score" if scores.raw is None else "raw reward on MT-Bench"
    return (
        f"{run.name} {verb} the {what} ({change.delta:+.2f}, 95% from {change.low:+.2f} "
        f"to {change.high:+.2f}; judge {run.mtbench.judge})."
    )


def _forgetting(run: RunFacts) -> str | None:
    if run.forgetting is None:
        return None
    change = run.forgetting.change
    relation = {
        "better": "lower than",
        "worse": "higher than",
        "tie": "not measurably different from",
    }[change.verdict]
    return (
        f"On {run.forgetting.rows} rows of {run.forgetting.source} the loss of {run.name} is {relation} "
        f"the base's ({change.delta:+.4f}, 95% from {change.low:+.4f} to {change.high:+.4f}); "
        f"its predictions moved by {run.forgetting.run.kl:.4f} nats a token."
    )
