"""Losses of adapters on rows: each run's own held-out ones, or those of any data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paceline.comparison.losses import loss_difference
from paceline.config.data import Data
from paceline.config.recipe import Recipe
from paceline.data.tokens import load_tokens
from paceline.errors import DataError, ModelError
from paceline.evaluate.adapters import BASE, AdapterSet
from paceline.evaluate.progress import NO_PROGRESS, EvaluationProgress
from paceline.runs.inputs import read_inputs
from paceline.runs.losses import ExampleLosses
from paceline.stats.paired import Difference
from paceline.training.heldout import held_out_losses
from paceline.training.prepare import Preparer


@dataclass(frozen=True)
class AdapterLosses:
    """An adapter's losses and the bare base's on the same rows.

    Args:
        source: whose rows they are.
        from_first: how its loss differs from that of the first adapter, where both have rows in common; None
            for the first itself.
    """

    source: str
    base: ExampleLosses
    own: ExampleLosses
    from_first: Difference | None = None

    @property
    def change(self) -> Difference:
        """How its loss differs from the base's, in nats a token."""
        return loss_difference(self.own, self.base)


def losses_on(
    adapter_set: AdapterSet, data: Data, max_length: int, progress: EvaluationProgress = NO_PROGRESS
) -> dict[str, AdapterLosses]:
    """Every adapter's losses on all rows of a data set; longer examples are cut to `max_length` tokens.

    Raises:
        DataError: data that cannot be read, or of which no answer begins within `max_length`.
    """
    dataset = load_tokens(data, adapter_set.chat)
    examples = np.flatnonzero(dataset.first < max_length)
    if not len(examples):
        raise DataError(f"data {data.source!r}: no answer begins within {max_length} tokens")
    measured = {}
    for name, adapter in {BASE: None, **adapter_set.adapters}.items():
        measured[name] = held_out_losses(adapter_set.base, adapter, dataset, examples, max_length)
        progress.checked()
    base = measured.pop(BASE)
    return _beside_first({name: AdapterLosses(data.source, base, own) for name, own in measured.items()})


def held_out_losses_of(
    adapter_set: AdapterSet, recipes: dict[Path, Recipe], progress: EvaluationProgress = NO_PROGRESS
) -> dict[str, AdapterLosses]:
    """Every run's losses on the rows that it held out.

    Args:
        recipes: those of the runs whose adapters are in the set, by their folders.

    Raises:
        ModelError: a run whose held-out rows are not what they were.
    """
    preparer, bases, found = Preparer(), {}, {}
    for path, recipe in recipes.items():
        prepared = preparer.prepare(recipe)
        rows = (prepared.dataset, prepared.split.eval, recipe.max_length)
        digest = preparer.rows_digest(*rows[:2])
        if (began := read_inputs(path)) is not None and began.held_out_rows != digest:
            raise ModelError(
                f"{path}: the rows of {recipe.data.source} that it held out are not what they were; "
                "restore them, or name other rows with --data"
            )
        key = digest, recipe.max_length
        if key not in bases:
            bases[key] = held_out_losses(adapter_set.base, None, *rows)
        name = path.resolve().name
        own = held_out_losses(adapter_set.base, adapter_set.adapters[name], *rows)
        found[name] = AdapterLosses(recipe.data.source, bases[key], own)
        progress.checked()
    return _beside_first(found)


def _beside_first(found: dict[str, AdapterLosses]) -> dict[str, AdapterLosses]:
    """The same with each adapter's difference from the first, where both were measured on the same rows."""
    first = next(iter(found.values()))
    return {
        name: replace(losses, from_first=loss_difference(losses.own, first.own))
        if losses is not first and losses.base is first.base
        else losses
        for name, losses in found.items()
    }
