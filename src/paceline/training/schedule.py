"""Learning rates as functions of the step: transformers' schedules, with their numbers, and those of others.

Transformers' own are not imported: that takes seconds of every start.
"""

import importlib
import math
import os
import sys
from collections.abc import Callable
from importlib.metadata import entry_points

from paceline.config.recipe import SCHEDULE_GROUP, SCHEDULERS, Recipe
from paceline.errors import ConfigError
from paceline.training.order import StepPlan

# (step from 0, plan of the run) -> the share of the peak learning rate that this step's update uses. It is
# the whole factor: warm-up and floor are the function's own business.
Schedule = Callable[[int, StepPlan], float]


def learning_rate(recipe: Recipe, plan: StepPlan) -> Callable[[int], float]:
    """step (from 0) -> the learning rate that this step's update uses.

    Raises:
        ConfigError: restarts or a decay that do not fit the steps; a schedule of the user's that cannot be
        imported,
            or whose factors are not finite numbers from 0 on.
    """
    if recipe.lr_scheduler not in SCHEDULERS:
        factors = _custom_factors(recipe.lr_scheduler, plan)
        return lambda step: recipe.lr * factors[step]
    if recipe.lr_scheduler == "cosine_with_restarts":
        _refuse_short_cycles(recipe, plan)
    if recipe.lr_scheduler == "warmup_stable_decay":
        _refuse_long_decay(recipe, plan)
    return lambda step: recipe.lr * _factor(recipe, plan, step)


def _custom_factors(name: str, plan: StepPlan) -> list[float]:
    """A schedule's factors for all steps, asked once, so that a run and its resumption see the same."""
    schedule = load_schedule(name)
    factors = []
    for step in range(plan.total_steps):
        try:
            factor = float(schedule(step, plan))
        except Exception as error:  # someone else's code may raise anything
            raise ConfigError(
                f"lr_scheduler {name}: failed at step {step} ({type(error).__name__}: {error})"
            ) from error
        if not math.isfinite(factor) or factor < 0:
            raise ConfigError(
                f"lr_scheduler {name}: step {step} has the factor {factor}; it must be finite and >= 0"
            )
        factors.append(factor)
    return factors


def load_schedule(name: str) -> Schedule:
    """The function that `module:function` or an entry point in the group `paceline.schedules` names.

    Modules are looked for as Python does, and in the working directory.

    Raises:
        ConfigError: it cannot be imported, or is no function.
    """
    sys.path.insert(0, os.getcwd())
    try:
        if ":" in name:
            module, _, function = name.partition(":")
            schedule = importlib.import_module(module)
            for part in function.split("."):
                schedule = getattr(schedule, part)
        else:
            schedule = entry_points(group=SCHEDULE_GROUP)[name].load()
    except Exception as error:  # importing runs someone else's code, which may raise anything
        raise ConfigError(
            f"lr_scheduler {name}: cannot be imported ({type(error).__name__}: {str(error).splitlines()[0]})"
            if str(error)
            else f"lr_scheduler {name}: cannot be imported ({type(error).__name__})"
        ) from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(schedule):
        raise ConfigError(f"lr_scheduler {name}: is no function of (step, plan)")
    return schedule


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
            f"warmup_stable_decay: {plan.warmup_steps} warm-up and {decay} decay steps do not fit into "
            f"{plan.total_steps}; lower warmup_ratio or decay_ratio"
        )


def _refuse_short_cycles(recipe: Recipe, plan: StepPlan) -> None:
    left = plan.total_steps - plan.warmup_steps
    cycles = plan.epochs if recipe.num_cycles == "epochs" else recipe.num_cycles
    if left < 2 * cycles or (recipe.num_cycles == "epochs" and plan.warmup_steps >= plan.steps_per_epoch):
        raise ConfigError(
            f"cosine_with_restarts: {cycles} cycles do not fit into {plan.total_steps} steps of which "
            f"{plan.warmup_steps} warm up; lower num_cycles or the warm-up"
        )


def _epoch_cosine(step: int, plan: StepPlan) -> float:
    """From the peak to zero within every epoch (SGDR, arXiv:1608.03983); the last cycle ends with the run."""
    first, after = plan.epoch_bounds(plan.epoch_of(step))
    start, end = max(first, plan.warmup_steps), min(after, plan.total_steps)
    return _cosine((step - start) / (end - start))
