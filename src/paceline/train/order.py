"""Which examples a step sees: a function of the recipe, the number of examples and the step, and of nothing else."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.config.recipe import Recipe


@dataclass(frozen=True)
class StepPlan:
    """How long a run is. Counted as transformers' Trainer does: an epoch's last step may be smaller, and counts."""

    examples: int
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int

    @property
    def coverage(self) -> float:
        """Passes over the training data."""
        return self.total_steps / self.steps_per_epoch


def make_step_plan(recipe: Recipe, examples: int) -> StepPlan:
    """Steps and warm-up of a recipe over a number of training examples."""
    steps_per_epoch = math.ceil(math.ceil(examples / recipe.batch_size) / recipe.grad_accum)
    total = recipe.max_steps or math.ceil(recipe.epochs * steps_per_epoch)
    warmup = math.ceil(total * recipe.warmup_ratio) if recipe.warmup_steps is None else recipe.warmup_steps
    return StepPlan(examples, steps_per_epoch, total, warmup)


def epoch_order(seed: int, epoch: int, examples: int, key: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """A permutation of range(examples), drawn from (seed, epoch); with a key, sorted by it, equal keys in drawn order."""
    drawn = np.random.default_rng([seed, epoch, 1]).permutation(examples)
    return drawn if key is None else drawn[np.argsort(key[drawn], kind="stable")]


class DataOrder:
    """step (from 0) -> indices into the training examples of its effective batch. A function of recipe, plan and key; keeps one epoch at hand."""

    def __init__(self, recipe: Recipe, plan: StepPlan, key: NDArray[Any] | None = None) -> None:
        self._recipe, self._plan, self._key = recipe, plan, key
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __call__(self, step: int) -> NDArray[np.int64]:
        epoch, place = divmod(step, self._plan.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = (
                epoch,
                epoch_order(self._recipe.seed, epoch, self._plan.examples, self._key),
            )
        size = self._recipe.effective_batch
        return self._order[place * size : (place + 1) * size]
