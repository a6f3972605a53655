"""Evaluates runs on executable tasks: answers, verdicts, pass rates with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from paceline.comparison.scores import cut_too_often, pass_difference
from paceline.config.evaluation import CodeTasks
from paceline.evaluate.adapters import BASE, AdapterSet
from paceline.evaluate.answers import Prompt, answer_all
from paceline.evaluate.code.suite import Task, Validation, workers
from paceline.evaluate.generate import Sampling
from paceline.evaluate.progress import NO_PROGRESS, EvaluationProgress
from paceline.evaluate.sandbox.sandbox import Sandbox
from paceline.runs.evaluations import (
    Answer,
    CodeScores,
    CodeSummary,
    CodeVerdict,
)
from paceline.runs.records import write_record, write_records
from paceline.stats.intervals import Interval, share_interval
from paceline.stats.proportions import mean_pass_at_k

# Characters that are kept of what a failed program printed.
MAX_OUTPUT = 4000


def evaluate_code(
    adapter_set: AdapterSet,
    valid: Validation,
    sandbox: Sandbox,
    settings: CodeTasks,
    folder: Path,
    progress: EvaluationProgress = NO_PROGRESS,
) -> CodeSummary:
    """Lets every run answer every task, runs the answers, and writes all of it into `folder`."""
    answers = answer_all(
        adapter_set,
        [Prompt(task.id, task.messages) for task in valid.tasks],
        folder / f"{settings.suite}-answers.jsonl",
        Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            seed=settings.seed,
        ),
        settings.thinking,
        settings.samples,
        progress.answers,
        progress.log,
    )
    verdicts = _run_answers(answers, valid.tasks, sandbox, progress)
    write_records(folder / f"{settings.suite}-verdicts.jsonl", verdicts)
    by_run = {run: [v for v in verdicts if v.run == run] for run in adapter_set.adapters}
    base = by_run.get(BASE)
    summary = CodeSummary(
        suite=settings.suite,
        protocol=settings.protocol,
        tasks=len(valid.tasks),
        left_out=valid.left_out,
        samples=settings.samples,
        run_a_minute_a_core=valid.run_a_minute_a_core,
        runs={
            run: summarise(own, settings.samples, None if run == BASE else base)
            for run, own in by_run.items()
        },
    )
    write_record(folder / f"{settings.suite}.json", summary)
    return summary


def _run_answers(
    answers: Sequence[Answer], tasks: Sequence[Task], sandbox: Sandbox, progress: EvaluationProgress
) -> list[CodeVerdict]:
    by_id = {task.id: task for task in tasks}

    def run(answer: Answer) -> CodeVerdict:
        task = by_id[answer.id]
        result = task.check(sandbox, answer.answer)
        progress.checked()
        return CodeVerdict(
            run=answer.run,
            id=answer.id,
            sample=answer.sample,
            finish=answer.finish,
            kind=task.kind,
            compiled=result.compiled,
            passed=result.passed,
            output=result.output[:MAX_OUTPUT],
        )

    with ThreadPoolExecutor(workers()) as pool:
        return list(pool.map(run, answers))


def summarise(
    verdicts: Sequence[CodeVerdict], samples: int, base: Sequence[CodeVerdict] | None = None
) -> CodeScores:
    """One run's pass rates, the share of its answers that compiles, and the paired change from the base.

    Where over 5% of the run's or of the base's answers ended at the token limit, nothing is said of it.
    """
    by_task: dict[str, list[bool]] = defaultdict(list)
    by_kind: dict[str, list[CodeVerdict]] = defaultdict(list)
    for verdict in verdicts:
        by_task[verdict.id].append(verdict.passed)
        by_kind[verdict.kind].append(verdict)
    compiled = [(verdict.id, verdict.compiled) for verdict in verdicts if verdict.compiled is not None]
    withheld = "" if base is None else _why_withheld(verdicts, "") or _why_withheld(base, "the base's ")
    return CodeScores(
        pass_at_1=_pass_at_1(verdicts),
        cut=_cut(verdicts),
        compile_rate=share_interval(*zip(*compiled, strict=True)) if compiled else None,
        kinds={kind: _pass_at_1(own) for kind, own in sorted(by_kind.items())},
        k=samples,
        pass_at_k=mean_pass_at_k(list(by_task.values()), samples) if samples > 1 else None,
        change=None if base is None or withheld else pass_difference(verdicts, base),
        withheld=withheld,
    )


def _pass_at_1(verdicts: Sequence[CodeVerdict]) -> Interval:
    """The share of answers that pass; those to one task are not independent, so tasks are the units."""
    return share_interval([verdict.id for verdict in verdicts], [verdict.passed for verdict in verdicts])


def _why_withheld(verdicts: Sequence[CodeVerdict], whose: str) -> str:
    return cut_too_often(_cut(verdicts), len(verdicts), whose)


def _cut(verdicts: Sequence[CodeVerdict]) -> int:
    return sum(verdict.finish == "length" for verdict in verdicts)
