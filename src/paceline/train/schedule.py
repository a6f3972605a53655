"""Learning rates: transformers' own schedules as a function of the step."""

from collections.abc import Callable

import torch
from transformers import get_scheduler

from paceline.config.recipe import Recipe
from paceline.train.order import Plan


def learning_rate(recipe: Recipe, plan: Plan) -> Callable[[int], float]:
    """step (from 0) -> the learning rate that this step's update uses."""
    carrier = torch.optim.SGD([torch.zeros(1)], lr=recipe.lr)
    extra = {"num_cycles": recipe.num_cycles} if recipe.lr_scheduler == "cosine_with_restarts" else None
    scheduler = get_scheduler(recipe.lr_scheduler, carrier, plan.warmup_steps, plan.total_steps, extra)
    if isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
        (factor,) = scheduler.lr_lambdas
        return lambda step: recipe.lr * float(factor(step))
    raise TypeError(f"{recipe.lr_scheduler} is no function of the step")
