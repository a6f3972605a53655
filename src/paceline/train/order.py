"""Which examples a step sees: a function of the recipe, the number of examples and the step, and of nothing else."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.config.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """How long a run is. Counted as transformers' Trainer does: an epoch's last step may be smaller, and counts."""

    examples: int
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int

    @property
    def coverage(self) -> float:
        """Passes over the training data."""
        return self.total_steps / self.steps_per_epoch


def make_plan(recipe: Recipe, examples: int) -> Plan:
    """Steps and warm-up of a recipe over a number of training examples."""
    steps_per_epoch = math.ceil(math.ceil(examples / recipe.batch_size) / recipe.grad_accum)
    total = recipe.max_steps or math.ceil(recipe.epochs * steps_per_epoch)
    warmup = math.ceil(total * recipe.warmup_ratio) if recipe.warmup_steps is None else recipe.warmup_steps
    return Plan(examples, steps_per_epoch, total, warmup)


def epoch_order(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    """A permutation of range(examples), drawn from (seed, epoch)."""
    return np.random.default_rng([seed, epoch, 1]).permutation(examples)


def step_examples(recipe: Recipe, plan: Plan, step: int) -> NDArray[np.int64]:
    """Indices (into the training examples) of the effective batch of a step, counted from 0."""
    epoch, place = divmod(step, plan.steps_per_epoch)
    size = recipe.effective_batch
    return epoch_order(recipe.seed, epoch, plan.examples)[place * size : (place + 1) * size]
