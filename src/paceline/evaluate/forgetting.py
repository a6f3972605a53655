"""What a run forgot: its loss on general rows against the bare base's, and how far its predictions moved there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from paceline.config.data import Data
from paceline.config.evaluation import ForgettingEval
from paceline.data.tokens import load_tokens
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.progress import NO_PROGRESS, EvaluationProgress
from paceline.runs.files import write_json
from paceline.train.heldout import held_out_losses
from paceline.train.hidden_cache import HiddenStateCache

# Long enough for a general conversation; the same for all runs, whatever they were cut to in training.
MAX_LENGTH = 1024


def measure_forgetting(
    adapter_set: AdapterSet,
    wanted: ForgettingEval,
    folders: dict[str, Path],
    progress: EvaluationProgress = NO_PROGRESS,
) -> dict[str, Any]:
    """Losses on general rows of the base and of every adapter, with the mean KL(adapter ‖ base) in nats a token.

    Writes into each run's folder the losses row by row (forgetting-base.parquet, forgetting.parquet) and both summaries (forgetting.json).
    """
    data = Data(
        source=wanted.source, config=wanted.config, split=wanted.split, format=wanted.format, n=wanted.n
    )
    dataset = load_tokens(data, adapter_set.chat)
    examples = np.flatnonzero(dataset.first < MAX_LENGTH)
    reference = HiddenStateCache(adapter_set.base)
    before = held_out_losses(adapter_set.base, None, dataset, examples, MAX_LENGTH)
    progress.checked()
    found = {}
    for run, adapter in adapter_set.adapters.items():
        if adapter is None:
            continue
        after = held_out_losses(adapter_set.base, adapter, dataset, examples, MAX_LENGTH, reference)
        before.save(folders[run] / "forgetting-base.parquet")
        after.save(folders[run] / "forgetting.parquet")
        figures = {
            "rows": len(examples),
            "source": wanted.source,
            "base": before.summary(),
            "run": after.summary(),
        }
        write_json(folders[run] / "forgetting.json", figures)
        found[run] = {**figures, "folder": str(folders[run])}
        progress.checked()
    return found
