"""Learning rates: transformers' own schedules as a function of the step."""

import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import get_scheduler

from paceline.config.recipe import Recipe
from paceline.errors import UserError
from paceline.train.order import Plan


def learning_rate(recipe: Recipe, plan: Plan) -> Callable[[int], float]:
    """step (from 0) -> the learning rate that this step's update uses.

    Raises:
        UserError: restarts or a decay that do not fit the steps.
    """
    if recipe.lr_scheduler == "cosine_with_restarts":
        _refuse_short_cycles(recipe, plan)
        if recipe.num_cycles == "epochs":
            return lambda step: recipe.lr * _epoch_cosine(step, plan)
    carrier = torch.optim.SGD([torch.zeros(1)], lr=recipe.lr)
    scheduler = get_scheduler(recipe.lr_scheduler, carrier, plan.warmup_steps, plan.total_steps, _options(recipe, plan))
    if isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
        (factor,) = scheduler.lr_lambdas
        return lambda step: recipe.lr * float(factor(step))
    raise TypeError(f"{recipe.lr_scheduler} is no function of the step")


def _options(recipe: Recipe, plan: Plan) -> dict[str, Any] | None:
    if recipe.lr_scheduler == "cosine_with_restarts":
        return {"num_cycles": recipe.num_cycles}
    if recipe.lr_scheduler == "polynomial":
        return {"lr_end": recipe.lr * recipe.min_lr_ratio, "power": recipe.power}
    if recipe.lr_scheduler == "cosine_with_min_lr":
        return {"min_lr_rate": recipe.min_lr_ratio}
    if recipe.lr_scheduler == "warmup_stable_decay":
        decay = math.ceil(plan.total_steps * recipe.decay_ratio)
        if plan.warmup_steps + decay > plan.total_steps:
            raise UserError(
                f"warmup_stable_decay: {plan.warmup_steps} warm-up and {decay} decay steps do not fit into {plan.total_steps}; lower warmup_ratio or decay_ratio"
            )
        return {"num_decay_steps": decay, "min_lr_ratio": recipe.min_lr_ratio}
    return None


def _refuse_short_cycles(recipe: Recipe, plan: Plan) -> None:
    left = plan.total_steps - plan.warmup_steps
    cycles = math.ceil(plan.total_steps / plan.steps_per_epoch) if recipe.num_cycles == "epochs" else recipe.num_cycles
    if left < 2 * cycles or (recipe.num_cycles == "epochs" and plan.warmup_steps >= plan.steps_per_epoch):
        raise UserError(
            f"cosine_with_restarts: {cycles} cycles do not fit into {plan.total_steps} steps of which {plan.warmup_steps} warm up; lower num_cycles or the warm-up"
        )


def _epoch_cosine(step: int, plan: Plan) -> float:
    """A linear warm-up, then from the peak to zero within every epoch (SGDR, arXiv:1608.03983); the last cycle ends with the run."""
    if step < plan.warmup_steps:
        return step / plan.warmup_steps
    epoch = step // plan.steps_per_epoch
    start = max(epoch * plan.steps_per_epoch, plan.warmup_steps)
    end = min((epoch + 1) * plan.steps_per_epoch, plan.total_steps)
    return 0.5 * (1 + math.cos(math.pi * (step - start) / (end - start)))
