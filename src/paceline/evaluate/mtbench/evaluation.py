"""MT-Bench as an evaluation that a recipe asks for."""

from __future__ import annotations

from dataclasses import replace

from paceline.config.evaluation import MTBench
from paceline.config.recipe import Recipe
from paceline.evaluate.adapters import BASE
from paceline.evaluate.evaluation import EvaluationGroup
from paceline.evaluate.mtbench.judges.judge import check_judge, open_judge
from paceline.evaluate.mtbench.pairwise import PAIRS
from paceline.evaluate.mtbench.protocol import load_templates
from paceline.evaluate.mtbench.questions import load_questions
from paceline.evaluate.mtbench.run import run_mtbench
from paceline.runs.evaluations import Judgment, MTBenchSummary, PairJudgment, TurnAnswer


class MTBenchEvaluation:
    """Two-turn questions, graded answer by answer."""

    kind = "mtbench"

    def settings(self, recipe: Recipe) -> MTBench | None:
        """`eval.mtbench`."""
        return recipe.eval.mtbench

    def check(self, settings: MTBench) -> None:
        """Questions and judge prompts can be read, and the judge can be asked."""
        load_questions(settings.lang, settings.questions)
        load_templates(settings.judge_prompts)
        if settings.pairwise:
            load_templates(settings.judge_prompts, PAIRS)
        check_judge(settings)

    def evaluate(self, settings: MTBench, group: EvaluationGroup) -> MTBenchSummary:
        """Asks and grades the runs, the base or both, as `when` says.

        Raises:
            EvaluationError: a judge that cannot be asked, or none of whose replies has a rating, or a verdict
                on two answers.
        """
        wanted = {
            name: adapter
            for name, adapter in group.adapter_set.adapters.items()
            if ("before" if name == BASE else "after") in settings.when
        }
        group.progress.log(f"MT-Bench: {', '.join(wanted)}, judge {settings.judge}")
        cache = group.scratch / "judge-replies"
        judge = open_judge(settings, group.adapter_set, cache)
        summary = run_mtbench(
            replace(group.adapter_set, adapters=wanted), settings, judge, group.scratch, group.progress
        )
        group.share_records("mtbench-answers.jsonl", TurnAnswer)
        group.share_records("mtbench-judgments.jsonl", Judgment)
        if settings.pairwise:
            group.share_records("mtbench-pairs.jsonl", PairJudgment)
        group.share_summary("mtbench.json", summary)
        return summary


MTBENCH = MTBenchEvaluation()
