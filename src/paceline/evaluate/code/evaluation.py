"""Executable tasks as an evaluation that a recipe asks for."""

from __future__ import annotations

from paceline.config.evaluation import CodeTasks
from paceline.config.recipe import Recipe
from paceline.evaluate.code.load import load_suite
from paceline.evaluate.code.run import evaluate_code
from paceline.evaluate.code.suite import validate
from paceline.evaluate.evaluation import EvaluationGroup
from paceline.runs.evaluations import Answer, CodeSummary, CodeVerdict


class CodeEvaluation:
    """Generated code that is compiled and run."""

    kind = "code"

    def settings(self, recipe: Recipe) -> CodeTasks | None:
        """`eval.code`."""
        return recipe.eval.code

    def check(self, settings: CodeTasks) -> None:
        """There is a compiler, a sandbox that works, and at least one task in the data."""
        load_suite(settings.model_copy(update={"n": 1}))

    def evaluate(self, settings: CodeTasks, group: EvaluationGroup) -> CodeSummary:
        """Runs the tasks' own answers, then those of the base and the runs."""
        tasks, sandbox = load_suite(settings)
        runs = ", ".join(group.adapter_set.adapters)
        group.progress.log(
            f"running the reference answers of {len(tasks)} {settings.suite} tasks, then those of {runs}"
        )
        valid = validate(tasks, sandbox, group.progress.checked)
        summary = evaluate_code(group.adapter_set, valid, sandbox, settings, group.scratch, group.progress)
        group.share_records(f"{settings.suite}-answers.jsonl", Answer)
        group.share_records(f"{settings.suite}-verdicts.jsonl", CodeVerdict)
        group.share_summary(f"{settings.suite}.json", summary)
        return summary


CODE = CodeEvaluation()
