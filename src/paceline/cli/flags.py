"""Every recipe field as a flag, under the names that people's scripts use."""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from paceline.config.recipe import Recipe

# Flags whose name is not just the field's own, or its parent's and its own.
_NAMES = {
    "base": ("--base", "--model"), "lr": ("--lr", "--learning-rate"), "batch_size": ("--batch-size", "--batch"),
    "grad_accum": ("--grad-accum", "--grad-acc"), "max_length": ("--max-length", "--max-seq-length"), "kl.tail": ("--kl-tail", "--kl-limit-seq"),
    "data.source": ("--data",), "data.n": ("-n", "--num-examples"), "data.seed": ("--data-seed",), "data.config": ("--data-config",), "data.mix_reasoning_ratio": ("--mix-reasoning-ratio",),
    "eval.mtbench.lang": ("--mtbench-lang", "--mtbench-ru"), "eval.mtbench.questions": ("--mtbench-questions", "--mtbench-questions-limit"),
    "eval.mtbench.judge": ("--mtbench-judge", "--mtbench-backend"), "eval.mtbench.judge_model": ("--judge-model",),
    "eval.mtbench.judge_url": ("--judge-url",), "eval.mtbench.judge_price": ("--judge-price",), "track_space": ("--track-space", "--space"),
    "track_project": ("--track-project", "--project"), "eval.mtbench.judge_prompts": ("--judge-prompts",),
}  # fmt: skip

_PANELS = {"kl": "KL anchor", "distill": "Distillation", "data": "Data", "eval": "Evaluation"}


def _leaves(
    model: type[BaseModel], parents: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every field that holds a value, with its path; lists of mappings have no flag."""
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        nested = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        if nested is not None:
            yield from _leaves(nested, (*parents, name))
        elif not any(
            isinstance(inner, type) and issubclass(inner, BaseModel)
            for kind in get_args(field.annotation)
            for inner in get_args(kind)
        ):
            yield (*parents, name), field


def _option(path: tuple[str, ...], field: FieldInfo) -> Any:
    kind = field.annotation
    plain = next((t for t in (kind, *get_args(kind)) if t in (int, float, bool)), str)
    own = path[1:] if path[0] in ("data", "eval") else path
    names = _NAMES.get(".".join(path)) or (f"--{'-'.join(own).replace('_', '-')}",)
    if plain is bool:
        names = (f"{names[0]}/--no-{names[0].removeprefix('--')}",)
    panel = "Recipe" if len(path) == 1 else _PANELS[path[0]]
    return Annotated[
        plain | None, typer.Option(*names, help=field.description, rich_help_panel=panel, show_default=False)
    ]


def recipe_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Adds a flag for every recipe field to a command, which gets the given ones as the mapping `flags`."""
    leaves = {"__".join(path): (path, field) for path, field in _leaves(Recipe)}

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        given = [(path, values.pop(name)) for name, (path, _) in leaves.items()]
        command(**values, flags=_as_fields(given))

    own = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(command).parameters.values()
        if p.name != "flags"
    ]
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(*leaf))
        for name, leaf in leaves.items()
    ]
    wrapped.__signature__ = inspect.Signature(own + extra)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in own + extra}
    return wrapped


def _as_fields(given: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for path, value in given:
        if value is None:
            continue
        place = fields
        for name in path[:-1]:
            place = place.setdefault(name, {})
        is_list = path in (("train_tasks",), ("eval", "mtbench", "when")) or (
            path == ("target_modules",) and re.fullmatch(r"[\w,]+", value)
        )
        place[path[-1]] = value.split(",") if is_list else value
    return fields
