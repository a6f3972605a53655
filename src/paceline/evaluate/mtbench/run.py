"""MT-Bench of many runs: answers, grades, scores with intervals, and what changed against the base."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paceline.config.evaluation import MTBench
from paceline.evaluate.adapters import BASE, AdapterSet
from paceline.evaluate.generate import Sampling
from paceline.evaluate.mtbench.converse import Answers, converse
from paceline.evaluate.mtbench.judges import Grade, GradingCase, Judge, OpenAIJudge, valid
from paceline.evaluate.mtbench.protocol import Template, judge_prompt, load_templates
from paceline.evaluate.mtbench.questions import Question, load_questions
from paceline.evaluate.progress import NO_PROGRESS, EvaluationProgress
from paceline.runs.files import write_json


def run_mtbench(
    adapter_set: AdapterSet,
    wanted: MTBench,
    judge: Judge,
    folder: Path,
    progress: EvaluationProgress = NO_PROGRESS,
) -> dict[str, Any]:
    """Asks, grades and scores every speaker of the cast; answers that `folder` holds already are not asked for again.

    Raises:
        PacelineError: no questions where the settings say they are.
    """
    questions, templates = load_questions(wanted.lang, wanted.questions), load_templates(wanted.judge_prompts)
    sampling = Sampling(wanted.temperature, 1.0, wanted.max_new_tokens)
    answers = converse(
        adapter_set, questions, folder / "mtbench-answers.jsonl", sampling, wanted.thinking, progress.answers
    )
    summary = grade_answers(answers, questions, judge, templates, folder, progress.checked)
    if isinstance(judge, OpenAIJudge):
        summary["judge_spent"] = _spent(judge, wanted)
    write_json(folder / "mtbench.json", summary)
    return summary


def _spent(judge: OpenAIJudge, wanted: MTBench) -> dict[str, float]:
    """What the judge's new replies took (those on disk cost nothing again): calls, tokens, and their cost where the price is known."""
    spent: dict[str, float] = dict(judge.spent)
    if wanted.judge_price is not None:
        asked, answered = wanted.judge_price
        spent["cost"] = (
            judge.spent["prompt_tokens"] * asked + judge.spent["completion_tokens"] * answered
        ) / 1e6
    return spent


def grade_answers(
    answers: Answers,
    questions: Sequence[Question],
    judge: Judge,
    templates: dict[str, Template],
    folder: Path,
    done: Callable[[], None],
) -> dict[str, Any]:
    """Grades every turn of every run; writes the judgments (jsonl) into `folder` and returns the scores."""
    places = [
        (run, question, turn)
        for run in dict.fromkeys(run for run, _ in answers)
        for question in questions
        for turn in range(len(question.turns))
    ]
    cases = [
        GradingCase(
            judge_prompt(templates, q, answers[run, q.id], turn), q.turns[turn], answers[run, q.id][turn]
        )
        for run, q, turn in places
    ]
    grades = judge.grade(cases, done)
    lines = [
        {
            "run": run,
            "id": q.id,
            "category": q.category,
            "turn": turn,
            "rating": g.rating,
            "raw": g.raw,
            "reply": g.reply,
        }
        for (run, q, turn), g in zip(places, grades, strict=True)
    ]
    (folder / "mtbench-judgments.jsonl").write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    )
    by_run: dict[str, list[tuple[Question, int, Grade]]] = {}
    for (run, question, turn), grade in zip(places, grades, strict=True):
        by_run.setdefault(run, []).append((question, turn, grade))
    summary: dict[str, Any] = {
        "judge": judge.name, "comparable_with_published": judge.comparable, "questions": len(questions), "runs": {run: scores(graded) for run, graded in by_run.items()},
    }  # fmt: skip
    if BASE in by_run:
        for run, graded in by_run.items():
            if run != BASE:
                summary["runs"][run]["change"] = paired_change(graded, by_run[BASE])
    return summary


def scores(graded: Sequence[tuple[Question, int, Grade]]) -> dict[str, Any]:
    """Mean ratings, overall, by turn and by category, with 95% intervals over questions; failed parses counted, and left out of the means."""
    fine = [(q, turn, grade.rating) for q, turn, grade in graded if valid(grade)]
    raws = [grade.raw for _, _, grade in graded if grade.raw is not None]
    found: dict[str, Any] = {
        "average": _mean([(q.id, rating) for q, _, rating in fine]), "failed": len(graded) - len(fine),
        "turns": {str(turn + 1): _mean([(q.id, rating) for q, t, rating in fine if t == turn]) for turn in sorted({t for _, t, _ in fine})},
        "categories": {name: _mean([(q.id, rating) for q, _, rating in fine if q.category == name]) for name in sorted({q.category for q, _, _ in fine})},
    }  # fmt: skip
    return {**found, "raw": float(np.mean(raws))} if raws else found


def paired_change(
    graded: Sequence[tuple[Question, int, Grade]], base: Sequence[tuple[Question, int, Grade]]
) -> dict[str, Any]:
    """Mean difference from the base over turns that both have a grade for; the interval draws questions, whose turns belong together."""
    before = {(q.id, turn): grade.rating for q, turn, grade in base if valid(grade)}
    gaps = [
        (q.id, grade.rating - before[q.id, turn])
        for q, turn, grade in graded
        if valid(grade) and (q.id, turn) in before
    ]
    found = _mean(gaps)
    verdict = "better" if found["low"] > 0 else "worse" if found["high"] < 0 else "tie"
    return {**found, "verdict": verdict, "graded": len(gaps)}


def _mean(values: list[tuple[str, float]]) -> dict[str, float]:
    """Mean and its 95% interval by a bootstrap over questions (scipy.stats.bootstrap), whose two turns are not independent."""
    if not values:
        return {"value": float("nan"), "low": float("nan"), "high": float("nan")}
    groups: dict[str, list[float]] = {}
    for name, value in values:
        groups.setdefault(name, []).append(value)
    sums, counts = (
        np.asarray([sum(g) for g in groups.values()]),
        np.asarray([len(g) for g in groups.values()], dtype=np.float64),
    )
    mean = float(sums.sum() / counts.sum())
    if len(groups) < 2 or np.ptp(sums / counts) == 0:
        return {"value": mean, "low": mean, "high": mean}

    def ratio(total: NDArray[Any], count: NDArray[Any], axis: int = -1) -> NDArray[Any]:
        return np.asarray(total.sum(axis=axis) / count.sum(axis=axis))

    interval = stats.bootstrap(
        (sums, counts),
        ratio,
        paired=True,
        n_resamples=9999,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return {"value": mean, "low": float(interval.low), "high": float(interval.high)}
