"""MT-Bench of many runs: answers, grades, scores with intervals, and what changed against the base."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from paceline.config.evaluation import MTBench
from paceline.errors import EvaluationError
from paceline.evaluate.adapters import BASE, AdapterSet
from paceline.evaluate.generate import Sampling
from paceline.evaluate.mtbench.converse import Answers, converse
from paceline.evaluate.mtbench.judges.judge import GradingCase, Judge
from paceline.evaluate.mtbench.pairwise import PAIRS, compare_answers
from paceline.evaluate.mtbench.protocol import Template, judge_prompt, load_templates
from paceline.evaluate.mtbench.questions import Question, load_questions
from paceline.evaluate.mtbench.scoring import pairwise_scores, scores
from paceline.evaluate.progress import NO_PROGRESS, EvaluationProgress
from paceline.runs.evaluations import Judgment, MTBenchSummary, TurnAnswer
from paceline.runs.records import read_records, write_record, write_records


def run_mtbench(
    adapter_set: AdapterSet,
    settings: MTBench,
    judge: Judge,
    folder: Path,
    progress: EvaluationProgress = NO_PROGRESS,
) -> MTBenchSummary:
    """Asks, grades and scores every adapter of the set; answers that `folder` has are not asked for again.

    Raises:
        PacelineError: no questions where the settings say they are; a judge that cannot be asked, cannot
            compare where `pairwise` asks it to, or none of whose replies has a rating, or a verdict on two
            answers; the replies and what they were read as are kept.
    """
    questions = load_questions(settings.lang, settings.questions)
    templates = load_templates(settings.judge_prompts)
    sampling = Sampling(temperature=settings.temperature, max_new_tokens=settings.max_new_tokens)
    answers = converse(
        adapter_set,
        questions,
        folder / "mtbench-answers.jsonl",
        sampling,
        settings.thinking,
        progress.answers,
        progress.log,
    )
    cut = _cut(read_records(folder / "mtbench-answers.jsonl", TurnAnswer), answers)
    summary = grade_answers(answers, questions, judge, templates, folder, progress.checked, cut)
    summary = summary.model_copy(update={"protocol": settings.protocol})
    if settings.pairwise:
        pairs = load_templates(settings.judge_prompts, PAIRS)
        compared = compare_answers(answers, questions, judge, pairs, folder, progress.checked)
        runs = {
            run: own.model_copy(update={"pairwise": pairwise_scores(compared[run])})
            if run in compared
            else own
            for run, own in summary.runs.items()
        }
        summary = summary.model_copy(update={"runs": runs, "judge_spent": judge.usage})
    write_record(folder / "mtbench.json", summary)
    _refuse_rubbish(summary)
    return summary


def _refuse_rubbish(summary: MTBenchSummary) -> None:
    if all(scores.turns == {} for scores in summary.runs.values()):
        raise EvaluationError(f"no reply of the judge {summary.judge} has a rating from 1 to 10")
    compared = [scores.pairwise for scores in summary.runs.values() if scores.pairwise]
    if compared and all(pairs.win_rate.n == 0 for pairs in compared):
        raise EvaluationError(f"no reply of the judge {summary.judge} says which of two answers is better")


def _cut(stored: Sequence[TurnAnswer], answers: Answers) -> dict[str, int]:
    """{run: how many of the answers ended at the token limit}."""
    finish = {(answer.run, answer.id, answer.turn): answer.finish for answer in stored}
    cut = {run: 0 for run, _ in answers}
    for (run, question), turns in answers.items():
        cut[run] += sum(finish.get((run, question, turn)) == "length" for turn in range(len(turns)))
    return cut


def grade_answers(
    answers: Answers,
    questions: Sequence[Question],
    judge: Judge,
    templates: Mapping[str, Template],
    folder: Path,
    done: Callable[[], None],
    cut: Mapping[str, int],
) -> MTBenchSummary:
    """Grades every turn of every run, writes the judgments into `folder`, and returns the scores.

    Args:
        cut: {run: how many of its answers ended at the token limit}.
    """
    turns = [
        (run, question, turn)
        for run in dict.fromkeys(run for run, _ in answers)
        for question in questions
        for turn in range(len(question.turns))
    ]
    cases = [
        GradingCase(
            prompt=judge_prompt(templates, question, answers[run, question.id], turn),
            question=question.turns[turn],
            answer=answers[run, question.id][turn],
        )
        for run, question, turn in turns
    ]
    judgments: dict[str, list[Judgment]] = defaultdict(list)
    for (run, question, turn), grade in zip(turns, judge.grade(cases, done), strict=True):
        judgments[run].append(
            Judgment(
                run=run,
                id=question.id,
                category=question.category,
                turn=turn,
                rating=grade.rating,
                raw=grade.raw,
                reply=grade.reply,
            )
        )
    write_records(folder / "mtbench-judgments.jsonl", [j for own in judgments.values() for j in own])
    base = judgments.get(BASE)
    return MTBenchSummary(
        judge=judge.name,
        comparable_with_published=judge.comparable,
        questions=len(questions),
        runs={
            run: scores(own, None if run == BASE else base, cut.get(run), cut.get(BASE))
            for run, own in judgments.items()
        },
        judge_spent=judge.usage,
    )
