"""A part of MT-Bench asked of a run while it trains."""

from __future__ import annotations

import tempfile
from pathlib import Path

from paceline.config.recipe import Recipe
from paceline.data.chat import load_chat
from paceline.evaluate.adapters import AdapterSet, sequences_to_repeat
from paceline.evaluate.mtbench.judges.judge import open_judge
from paceline.evaluate.mtbench.run import run_mtbench
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.runs.directory import RunDirectory
from paceline.runs.files import write_whole
from paceline.training.run_evaluation import Scorer, no_scorer


def in_training_score(base: Base, directory: RunDirectory, recipe: Recipe) -> Scorer:
    """A function that gives the mean rating of an adapter on the questions of `eval.mtbench.during`.

    Answers, and replies of a judge behind an API, are kept in the run's eval folder.
    """
    settings = recipe.eval.mtbench
    if settings is None or settings.during is None:
        return no_scorer
    part = settings.model_copy(update={"questions": settings.during.questions, "pairwise": False})
    chat = load_chat(recipe.base, recipe.data.chat_template, recipe.new_tokens)
    judge = open_judge(part, AdapterSet(base, chat, {}), directory.eval / "judge-replies")

    def score(adapter: Adapter | None, step: int) -> float:
        with tempfile.TemporaryDirectory() as scratch:
            adapter_set = AdapterSet(base, chat, {directory.name: adapter}, sequences_to_repeat(base))
            summary = run_mtbench(adapter_set, part, judge, Path(scratch))
            directory.asked_folder.mkdir(parents=True, exist_ok=True)
            write_whole(directory.asked(step), (Path(scratch) / "mtbench-answers.jsonl").read_text())
        return summary.runs[directory.name].average.value

    return score
