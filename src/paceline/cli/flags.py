"""Every recipe field as a flag, under the names that people's scripts use."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, get_args

import typer

from paceline.config.recipe import Data, Recipe

# Flags whose name is not just the field's.
_DATA_FLAGS = {
    "source": ("--data",), "split": ("--split",), "format": ("--format",), "n": ("-n", "--num-examples"),
    "eval_ratio": ("--eval-ratio",), "seed": ("--data-seed",),
}  # fmt: skip
_ALIASES = {"base": ("--base", "--model"), "lr": ("--lr", "--learning-rate"), "batch_size": ("--batch-size", "--batch"),
            "grad_accum": ("--grad-accum", "--grad-acc"), "max_length": ("--max-length", "--max-seq-length")}  # fmt: skip


def _option(kind: Any, names: tuple[str, ...], text: str | None, panel: str) -> Any:
    plain = next((t for t in (kind, *get_args(kind)) if t in (int, float, bool)), str)
    if plain is bool:
        names = (f"{names[0]}/--no-{names[0].removeprefix('--')}",)
    return Annotated[plain | None, typer.Option(*names, help=text, rich_help_panel=panel, show_default=False)]


def _parameters() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in Data.model_fields.items():
        found[f"data_{name}"] = _option(field.annotation, _DATA_FLAGS[name], field.description, "Data")
    for name, field in Recipe.model_fields.items():
        if name != "data":
            flags = _ALIASES.get(name, (f"--{name.replace('_', '-')}",))
            found[f"recipe_{name}"] = _option(field.annotation, flags, field.description, "Recipe")
    return found


def recipe_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Adds a flag for every recipe field to a command, which gets the given ones as the mapping `flags`."""
    parameters = _parameters()

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        given = {name: values.pop(name) for name in parameters}
        command(**values, flags=_as_fields(given))

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "flags"]
    extra = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind) for name, kind in parameters.items()]
    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    wrapped.__signature__ = inspect.Signature(keyword + extra)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in keyword + extra}
    return wrapped


def _as_fields(given: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        where, field = name.split("_", 1)
        if where == "data":
            fields.setdefault("data", {})[field] = value
        elif field == "target_modules" and re.fullmatch(r"[\w,]+", value):
            fields[field] = value.split(",")
        else:
            fields[field] = value
    return fields
