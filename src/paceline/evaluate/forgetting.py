"""What a run forgot: its loss on general rows against the bare base's, and how far its predictions moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paceline.comparison.losses import loss_difference
from paceline.config.data import Data
from paceline.config.evaluation import ForgettingEval
from paceline.config.recipe import Recipe
from paceline.data.formats import recognise
from paceline.data.sources import load_rows
from paceline.data.tokens import load_tokens
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.evaluation import EvaluationGroup
from paceline.evaluate.progress import NO_PROGRESS, EvaluationProgress
from paceline.runs.evaluations import ForgettingSummary, RunForgetting
from paceline.runs.records import write_record
from paceline.training.heldout import held_out_losses
from paceline.training.hidden_cache import HiddenStateCache

# Long enough for a general conversation; the same for all runs, whatever length they were trained at.
MAX_LENGTH = 1024


class ForgettingEvaluation:
    """Loss on general rows, and the KL divergence from the base."""

    kind = "forgetting"

    def settings(self, recipe: Recipe) -> ForgettingEval | None:
        """`eval.forgetting`."""
        return recipe.eval.forgetting

    def check(self, settings: ForgettingEval) -> None:
        """The rows can be loaded, and their format is known."""
        (source,) = _data(settings).parts()
        recognise(load_rows(source).columns, source.format, source.source)

    def evaluate(self, settings: ForgettingEval, group: EvaluationGroup) -> ForgettingSummary:
        """Measures every run of the group."""
        group.progress.log(f"measuring what was forgotten on {settings.source}")
        folders = {directory.name: directory.eval for directory in group.directories}
        return measure_forgetting(group.adapter_set, settings, folders, group.progress)


def measure_forgetting(
    adapter_set: AdapterSet,
    settings: ForgettingEval,
    folders: Mapping[str, Path],
    progress: EvaluationProgress = NO_PROGRESS,
) -> ForgettingSummary:
    """Losses on general rows of the base and of every adapter, with the mean KL(adapter ‖ base).

    Writes into each run's folder the losses row by row (forgetting-base.parquet, forgetting.parquet) and what
    follows from them (forgetting.json).
    """
    dataset = load_tokens(_data(settings), adapter_set.chat)
    examples = np.flatnonzero(dataset.first < MAX_LENGTH)
    reference = HiddenStateCache(adapter_set.base)
    before = held_out_losses(adapter_set.base, None, dataset, examples, MAX_LENGTH)
    progress.checked()
    runs = {}
    for run, adapter in adapter_set.adapters.items():
        if adapter is None:
            continue
        after = held_out_losses(adapter_set.base, adapter, dataset, examples, MAX_LENGTH, reference)
        before.save(folders[run] / "forgetting-base.parquet")
        after.save(folders[run] / "forgetting.parquet")
        runs[run] = RunForgetting(
            rows=len(examples),
            source=settings.source,
            base=before.summary(),
            run=after.summary(),
            change=loss_difference(after, before),
        )
        write_record(folders[run] / "forgetting.json", runs[run])
        progress.checked()
    return ForgettingSummary(runs=runs)


def _data(settings: ForgettingEval) -> Data:
    return Data(
        source=settings.source,
        config=settings.config,
        split=settings.split,
        format=settings.format,
        n=settings.n,
    )


FORGETTING = ForgettingEvaluation()
