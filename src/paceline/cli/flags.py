"""Command-line options made from models: an option for each field, with its type, choices and description."""

import functools
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from paceline.config.aliases import names_of
from paceline.config.fields import FieldPath, Fields, leaves, members
from paceline.config.recipe import Recipe
from paceline.config.settings import BITSANDBYTES, SETTINGS
from paceline.errors import ConfigError

Command = Callable[..., None]
_PANELS = {"kl": "KL anchor", "distill": "Distillation", "data": "Data", "eval": "Evaluation"}


@dataclass(frozen=True)
class Option:
    """A command-line option: the field that it sets, its spellings, and how it looks in the help."""

    path: FieldPath
    spellings: tuple[str, ...]
    kind: type
    read: Callable[[Any], Any] = lambda value: value
    help: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    panel: str | None = None
    hidden: bool = False

    @property
    def parameter(self) -> str:
        """Name of the command's parameter."""
        return "__".join(self.path)

    def annotation(self) -> Any:
        """The parameter's type, as typer reads it."""
        spellings = list(self.spellings)
        if self.kind is bool:
            spellings[0] += f"/--no-{spellings[0].removeprefix('--')}"
        info = typer.Option(
            *spellings,
            help=self.help,
            show_default=self.default or False,
            metavar=f"[{'|'.join(self.choices)}]" if self.choices else None,
            rich_help_panel=self.panel,
            hidden=self.hidden,
        )
        return Annotated[self.kind | None, info]


def options_from(
    model: type[BaseModel],
    into: str = "fields",
    *,
    only: Collection[str] | None = None,
    exclude: Collection[str] = (),
    names: Mapping[str, tuple[str, ...]] | None = None,
) -> Callable[[Command], Command]:
    """Adds an option for each of a model's fields to a command.

    The command gets the given ones, and only these, as the mapping of its parameter `into`: so the model's
    defaults hold, and the model checks the values. Nested models' fields are options too (`kl.coef` is
    --kl-coef).

    Args:
        only: the outermost fields that become options; None: all.
        exclude: outermost fields that do not.
        names: {dotted field: names}, where they are not just the path; one letter makes a short option.
    """
    options = [
        _option(path, field, (names or {}).get(".".join(path)) or ("_".join(path),))
        for path, field in leaves(model)
        if path[0] not in exclude and (only is None or path[0] in only)
    ]
    return _adding(options, into)


def recipe_flags(command: Command) -> Command:
    """Adds an option for every field of a recipe to a command, which gets the given ones as its `flags`.

    What else `resolve_aliases` understands is an option too, left out of the help.
    """
    shown, hidden = [], []
    for path, field in leaves(Recipe):
        names = names_of(path)
        first = 2 if len(names[0]) == 1 else 1
        panel = "Recipe" if len(path) == 1 else _PANELS[path[0]]
        shown.append(_option(path, field, names[:first], panel))
        # the rest keep their own names, so that two names with different values are noticed as they are in
        # a file
        hidden += [replace(_option((name,), field, (name,)), hidden=True) for name in names[first:]]
    taken = {option.parameter for option in shown} | set(inspect.signature(command).parameters)
    hidden += [
        Option((name,), (_spelling(name),), setting.kind, hidden=True)
        for name, setting in {**SETTINGS, **BITSANDBYTES}.items()
        if name not in taken
    ]
    return _adding([*shown, *hidden], "flags")(command)


def print_notes(notes: Iterable[str]) -> None:
    """Tells, beside the result, which settings change nothing or mean something else here."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _adding(options: list[Option], into: str) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**values: Any) -> None:
            given = [(option, values.pop(option.parameter)) for option in options]
            command(**values, **{into: _nested(given)})

        kept = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command).parameters.values()
            if parameter.name != into
        ]
        added = [
            inspect.Parameter(
                option.parameter, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option.annotation()
            )
            for option in options
        ]
        # typer reads a command's options from its signature and annotations
        wrapped.__signature__ = inspect.Signature(kept + added)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in kept + added}
        return wrapped

    return decorate


def _nested(given: list[tuple[Option, Any]]) -> Fields:
    """The fields that were given, nested as their model has them."""
    fields: Fields = {}
    for option, value in given:
        if value is None:
            continue
        place = fields
        for name in option.path[:-1]:
            place = place.setdefault(name, {})
        place[option.path[-1]] = option.read(value)
    return fields


def _option(path: FieldPath, field: FieldInfo, names: tuple[str, ...], panel: str | None = None) -> Option:
    kinds = [_bare(member) for member in members(field.annotation)]
    plain = len(kinds) == 1 and kinds[0] in (int, float, bool)
    choices = get_args(kinds[0]) if len(kinds) == 1 and get_origin(kinds[0]) is Literal else ()
    default = field.get_default()
    return Option(
        path,
        tuple(_spelling(name) for name in names),
        kinds[0] if plain else str,
        functools.partial(_read_text, kinds) if not plain else lambda value: value,
        help=field.description or "",
        default=f"{default:g}" if isinstance(default, float) else str(default) if _is_shown(default) else "",
        choices=tuple(map(str, choices)),
        panel=panel,
    )


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _is_shown(default: Any) -> bool:
    return isinstance(default, int | str) and not isinstance(default, bool)


def _spelling(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"


def _read_text(kinds: list[Any], text: str) -> Any:
    """A value from its text: [a, b] and {a: b} are YAML, a,b is a list where the field holds one."""
    from paceline.config.yaml_text import parse_yaml

    structured = [kind for kind in kinds if kind is not str and get_origin(kind) is not Literal]
    if not structured:
        return text
    if text[:1] in ("[", "{"):
        try:
            return parse_yaml(text)
        except ConfigError:
            if str not in kinds:
                raise
    is_list = any(get_origin(kind) in (list, tuple) for kind in structured)
    # where a text of its own is possible too (a regular expression), only names with commas between them
    # are a list
    if is_list and (str not in kinds or re.fullmatch(r"[\w,]+", text)):
        return text.split(",")
    return text
