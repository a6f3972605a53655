"""Learning rates as functions of the step, with the numbers of transformers' schedules (importing those takes seconds of every start)."""

import math
from collections.abc import Callable

from paceline.config.recipe import Recipe
from paceline.errors import ConfigError
from paceline.train.order import StepPlan


def learning_rate(recipe: Recipe, plan: StepPlan) -> Callable[[int], float]:
    """step (from 0) -> the learning rate that this step's update uses.

    Raises:
        ConfigError: restarts or a decay that do not fit the steps.
    """
    if recipe.lr_scheduler == "cosine_with_restarts":
        _refuse_short_cycles(recipe, plan)
    if recipe.lr_scheduler == "warmup_stable_decay":
        _refuse_long_decay(recipe, plan)
    return lambda step: recipe.lr * _factor(recipe, plan, step)


def _factor(recipe: Recipe, plan: StepPlan, step: int) -> float:
    """Share of the peak: a linear warm-up, then what the scheduler's name says of the progress since."""
    kind, low = recipe.lr_scheduler, recipe.min_lr_ratio
    if kind == "constant":
        return 1.0
    if step < plan.warmup_steps:
        rising = step / plan.warmup_steps
        return low + (1 - low) * rising if kind == "warmup_stable_decay" else rising
    progress = (step - plan.warmup_steps) / max(1, plan.total_steps - plan.warmup_steps)
    if kind == "constant_with_warmup":
        return 1.0
    if kind == "linear":
        return max(0.0, 1 - progress)
    if kind == "cosine_with_restarts":
        return (
            _epoch_cosine(step, plan)
            if recipe.num_cycles == "epochs"
            else _cosine(recipe.num_cycles * progress % 1)
        )
    if kind == "polynomial":
        return low + (1 - low) * float((1 - progress) ** recipe.power)
    if kind == "cosine_with_min_lr":
        return low + (1 - low) * _cosine(progress)
    if kind == "warmup_stable_decay":
        decay = _decay_steps(recipe, plan)
        return low + (1 - low) * _cosine(max(0.0, (step - plan.total_steps + decay) / decay))
    return _cosine(progress)


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _decay_steps(recipe: Recipe, plan: StepPlan) -> int:
    return math.ceil(plan.total_steps * recipe.decay_ratio)


def _refuse_long_decay(recipe: Recipe, plan: StepPlan) -> None:
    decay = _decay_steps(recipe, plan)
    if plan.warmup_steps + decay > plan.total_steps:
        raise ConfigError(
            f"warmup_stable_decay: {plan.warmup_steps} warm-up and {decay} decay steps do not fit into {plan.total_steps}; lower warmup_ratio or decay_ratio"
        )


def _refuse_short_cycles(recipe: Recipe, plan: StepPlan) -> None:
    left = plan.total_steps - plan.warmup_steps
    cycles = (
        math.ceil(plan.total_steps / plan.steps_per_epoch)
        if recipe.num_cycles == "epochs"
        else recipe.num_cycles
    )
    if left < 2 * cycles or (recipe.num_cycles == "epochs" and plan.warmup_steps >= plan.steps_per_epoch):
        raise ConfigError(
            f"cosine_with_restarts: {cycles} cycles do not fit into {plan.total_steps} steps of which {plan.warmup_steps} warm up; lower num_cycles or the warm-up"
        )


def _epoch_cosine(step: int, plan: StepPlan) -> float:
    """From the peak to zero within every epoch (SGDR, arXiv:1608.03983); the last cycle ends with the run."""
    epoch = step // plan.steps_per_epoch
    start = max(epoch * plan.steps_per_epoch, plan.warmup_steps)
    end = min((epoch + 1) * plan.steps_per_epoch, plan.total_steps)
    return _cosine((step - start) / (end - start))
