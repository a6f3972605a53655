"""A part of MT-Bench asked of a run while it trains."""

from __future__ import annotations

import tempfile
from pathlib import Path

from paceline.config.recipe import Recipe
from paceline.data.chat import Chat, load_tokenizer
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.mtbench.judges import open_judge
from paceline.evaluate.mtbench.run import run_mtbench
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.runs.directory import RunDirectory
from paceline.train.run_evaluation import Scorer, no_scorer


def in_training_score(base: Base, directory: RunDirectory, recipe: Recipe) -> Scorer:
    """Gives the mean rating of an adapter on the questions of `eval.mtbench.during`; an API judge's replies are kept beside the run."""
    wanted = recipe.eval.mtbench
    if wanted is None or wanted.during is None:
        return no_scorer
    part = wanted.model_copy(update={"questions": wanted.during.questions})
    chat = Chat(load_tokenizer(recipe.base))
    judge = open_judge(part, AdapterSet(base, chat, {}), directory.eval / "judge-replies")

    def score(adapter: Adapter | None) -> float:
        with tempfile.TemporaryDirectory() as scratch:
            summary = run_mtbench(
                AdapterSet(base, chat, {directory.name: adapter}), part, judge, Path(scratch)
            )
        return float(summary["runs"][directory.name]["average"]["value"])

    return score
