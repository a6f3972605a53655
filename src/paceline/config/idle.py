"""Settings that change nothing beside the others: they are said, so that nobody believes in them."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from pydantic import BaseModel

from paceline.config.objective import FOUR_BIT
from paceline.config.recipe import Recipe


@dataclass(frozen=True)
class Condition:
    """When a field counts. `field` is dotted; `where` says why it does not, for the recipe at hand."""

    field: str
    counts: Callable[[Recipe], bool]
    where: Callable[[Recipe], str]


def _with(field: str, other: str, values: tuple[str, ...]) -> Condition:
    """Counts only where another field has one of these values."""
    read = attrgetter(other)
    return Condition(
        field,
        lambda recipe: read(recipe) in values,
        lambda recipe: f"{other} is {read(recipe)}, and only {', '.join(values)} uses it",
    )


def _without(field: str, other: str, values: tuple[str, ...]) -> Condition:
    """Counts only where another field has none of these values."""
    read = attrgetter(other)
    return Condition(
        field, lambda recipe: read(recipe) not in values, lambda recipe: f"{other} is {read(recipe)}"
    )


def _set(field: str, other: str) -> Condition:
    """Counts only where another field is set."""
    read = attrgetter(other)
    return Condition(field, lambda recipe: bool(read(recipe)), lambda recipe: f"{other} is not set")


_SCHEDULED = tuple(
    _without(field, "lr_scheduler", ("constant",)) for field in ("warmup_ratio", "warmup_steps")
)
_JUDGED = (
    _without("eval.mtbench.judge_model", "eval.mtbench.judge", ("simple",)),
    _without("eval.mtbench.judge_url", "eval.mtbench.judge", ("simple", "reward", "local")),
    _without("eval.mtbench.judge_price", "eval.mtbench.judge", ("simple", "reward", "local")),
    _without("eval.mtbench.judge_prompts", "eval.mtbench.judge", ("simple", "reward")),
)
CONDITIONS: tuple[Condition, ...] = (
    _with("num_cycles", "lr_scheduler", ("cosine_with_restarts",)),
    _with("power", "lr_scheduler", ("polynomial",)),
    _with("decay_ratio", "lr_scheduler", ("warmup_stable_decay",)),
    _with("min_lr_ratio", "lr_scheduler", ("cosine_with_min_lr", "warmup_stable_decay", "polynomial")),
    *_SCHEDULED,
    _with("llm_int8_threshold", "quantize", ("int8",)),
    _with("compute_dtype", "quantize", FOUR_BIT),
    Condition(
        "use_rslora",
        lambda recipe: {recipe.lora_r, *recipe.rank_pattern.values()} != {1},
        lambda recipe: "every rank is 1, whose root is 1 too",
    ),
    Condition(
        "init_lora_weights",
        lambda recipe: recipe.init_from is None,
        lambda recipe: f"the run starts from {recipe.init_from}",
    ),
    _set("early_stop_min_delta", "early_stop_patience"),
    _without("track_project", "track", ("none", "tensorboard")),
    _without("track_space", "track", ("none", "tensorboard", "wandb", "mlflow")),
    *(
        Condition(
            f"kl.{field}",
            lambda recipe: recipe.kl is not None and (recipe.kl.coef > 0 or recipe.kl.measure),
            lambda recipe: "kl.coef is 0",
        )
        for field in ("tail", "direction")
    ),
    *(
        Condition(
            f"kl.{field}",
            lambda recipe: recipe.kl is not None and recipe.kl.coef > 0,
            lambda recipe: "kl.coef is 0",
        )
        for field in ("start_step", "warmup_steps")
    ),
    *(
        Condition(
            f"distill.{field}",
            lambda recipe: recipe.distill is not None and recipe.distill.weight > 0,
            lambda recipe: "distill.weight is 0",
        )
        for field in ("temperature", "quantize", "teacher")
    ),
    *_JUDGED,
    _set("eval.mtbench.during.floor", "eval.mtbench.during.patience"),
    _set("eval.mtbench.during.min_delta", "eval.mtbench.during.patience"),
    Condition(
        "eval.code.top_p",
        lambda recipe: recipe.eval.code is not None and recipe.eval.code.temperature > 0,
        lambda recipe: "eval.code.temperature is 0",
    ),
)


def idle_settings(recipe: Recipe) -> list[str]:
    """A line about each setting that differs from its default but changes nothing beside the others."""
    lines = []
    for condition in CONDITIONS:
        value, default = _value(recipe, condition.field)
        if value != default and not condition.counts(recipe):
            lines.append(f"{condition.field} {value} has no effect: {condition.where(recipe)}")
    return lines


def _value(recipe: Recipe, field: str) -> tuple[Any, Any]:
    """A field's value and its default; both None where the recipe has nothing that holds it."""
    *parents, name = field.split(".")
    holder: BaseModel | None = recipe
    for parent in parents:
        holder = getattr(holder, parent) if holder is not None else None
    if holder is None:
        return None, None
    return getattr(holder, name), type(holder).model_fields[name].get_default(call_default_factory=True)
