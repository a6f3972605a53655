"""Which examples a step sees: a function of the recipe, the number of examples and the step alone."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.config.recipe import Recipe


@dataclass(frozen=True)
class StepSizes:
    """How many examples an optimizer step asks for; an epoch's last step gets what is left.

    `start` and `end` are examples in a batch, `steps` those over which the batch grows from one to the other
    (0: it does not), `batches` the batches in a step.
    """

    start: int
    end: int
    steps: int
    batches: int

    @classmethod
    def of(cls, recipe: Recipe) -> "StepSizes":
        batch = recipe.batch_size
        if isinstance(batch, int):
            return cls(batch, batch, 0, recipe.grad_accum)
        return cls(batch.start, batch.end, batch.steps, recipe.grad_accum)

    def __call__(self, step: int) -> int:
        """Examples of a step (from 0)."""
        if step >= self.steps:
            return self.end * self.batches
        grown = (2 * (self.end - self.start) * step + self.steps) // (2 * self.steps)  # rounded, halves up
        return (self.start + grown) * self.batches


@dataclass(frozen=True)
class StepPlan:
    """How long a run is, counted as transformers' Trainer does: an epoch's last step may be smaller.

    Args:
        examples: training examples in an epoch.
        steps_per_epoch: steps of the first epoch; where the batch grows, later epochs have fewer.
        total_steps: optimizer steps of the run.
        warmup_steps: of these, the first in which the learning rate rises.
        sizes: examples that each step asks for; None: all of one size.
        epoch_starts: the first step of each epoch, where the batch grows; the last entry is where the run's
            last epoch would end.
    """

    examples: int
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    sizes: StepSizes | None = None
    epoch_starts: tuple[int, ...] = ()

    def epoch_of(self, step: int) -> int:
        """The epoch (from 0) that a step (from 0) belongs to."""
        if not self.epoch_starts:
            return step // self.steps_per_epoch
        return min(bisect_right(self.epoch_starts, step), len(self.epoch_starts) - 1) - 1

    def epoch_bounds(self, epoch: int) -> tuple[int, int]:
        """(first step of an epoch, first step of the next one)."""
        if not self.epoch_starts:
            return epoch * self.steps_per_epoch, (epoch + 1) * self.steps_per_epoch
        return self.epoch_starts[epoch], self.epoch_starts[epoch + 1]

    @property
    def epochs(self) -> int:
        """Epochs that the run begins."""
        return self.epoch_of(self.total_steps - 1) + 1

    def passes(self, steps: int) -> float:
        """Epochs that are over after the first `steps` steps, the one under way counted by its steps."""
        if not self.epoch_starts:
            return steps / self.steps_per_epoch
        epoch = self.epoch_of(max(steps - 1, 0))
        first, end = self.epoch_bounds(epoch)
        return epoch + (steps - first) / (end - first)

    @property
    def coverage(self) -> float:
        """Passes over the training data."""
        return self.passes(self.total_steps)


def make_step_plan(recipe: Recipe, examples: int) -> StepPlan:
    """Steps and warm-up of a recipe over a number of training examples."""
    starts: tuple[int, ...] = ()
    if isinstance(recipe.batch_size, int):
        steps_per_epoch = math.ceil(math.ceil(examples / recipe.batch_size) / recipe.grad_accum)
        total = recipe.max_steps or math.ceil(recipe.epochs * steps_per_epoch)
    else:
        starts, total = _growing_epochs(recipe, examples)
        steps_per_epoch = starts[1]
    warmup = math.ceil(total * recipe.warmup_ratio) if recipe.warmup_steps is None else recipe.warmup_steps
    sizes = StepSizes.of(recipe) if starts else None
    return StepPlan(examples, steps_per_epoch, total, warmup, sizes, starts)


def _growing_epochs(recipe: Recipe, examples: int) -> tuple[tuple[int, ...], int]:
    """(the first step of each epoch and the end of the last, steps of the run), where the batch grows."""
    sizes, starts, step = StepSizes.of(recipe), [0], 0
    whole, part = divmod(recipe.epochs, 1)
    while True:
        left = examples
        while left > 0 and step < sizes.steps:
            left -= sizes(step)
            step += 1
        step += max(0, math.ceil(left / sizes(sizes.steps)))
        first = starts[-1]
        starts.append(step)
        if recipe.max_steps:
            if step >= recipe.max_steps:
                return tuple(starts), recipe.max_steps
        elif len(starts) - 1 > whole:
            return tuple(starts), first + math.ceil(part * (step - first))
        elif len(starts) - 1 == whole and not part:
            return tuple(starts), step


def epoch_order(seed: int, epoch: int, examples: int, key: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """A permutation of range(examples), drawn from (seed, epoch).

    With a key (examples,) it is sorted by it, equal keys in drawn order.
    """
    drawn = np.random.default_rng([seed, epoch, 1]).permutation(examples)
    return drawn if key is None else drawn[np.argsort(key[drawn], kind="stable")]


class DataOrder:
    """step (from 0) -> indices into the training examples of its effective batch.

    A function of recipe, plan and key; it keeps the order of one epoch at hand.
    """

    def __init__(self, recipe: Recipe, plan: StepPlan, key: NDArray[Any] | None = None) -> None:
        self._recipe, self._plan, self._key = recipe, plan, key
        self._sizes = plan.sizes or StepSizes.of(recipe)
        self._growing = np.cumsum([0, *map(self._sizes, range(self._sizes.steps))])
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __call__(self, step: int) -> NDArray[np.int64]:
        epoch = self._plan.epoch_of(step)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = epoch_order(self._recipe.seed, epoch, self._plan.examples, self._key)
        start = self._before(step) - self._before(self._plan.epoch_bounds(epoch)[0])
        return self._order[start : start + self._sizes(step)]

    def _before(self, step: int) -> int:
        """Examples that the steps before this one ask for, if none of them ended an epoch."""
        grown = min(step, self._sizes.steps)
        return int(self._growing[grown]) + (step - grown) * self._sizes(self._sizes.steps)
