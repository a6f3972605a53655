"""From YAML files, presets and flags to recipes and studies. Precedence: preset < file < flag."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from paceline.config.presets import PRESETS
from paceline.config.recipe import Recipe
from paceline.config.study import Run, Study
from paceline.errors import ConfigError, nearest

_STUDY_KEYS = ("study", "objective", "recipe", "runs", "published")
_RUN_KEYS = ("name", "hypothesis", "preset")
Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML 1.1's reader takes 2e-5 for text; this one takes it for the number that it is."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; refuses a missing file, broken YAML and anything that is not a mapping."""
    try:
        content = yaml.load(path.read_text(), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML ({getattr(error, 'problem', error)})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of fields, found {type(content).__name__}")
    return content


def preset_fields(name: str | None) -> dict[str, Any]:
    """The fields of a preset; none for None."""
    if name is None:
        return {}
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}{nearest(name, PRESETS)} (known: {', '.join(PRESETS)})")
    return PRESETS[name]


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The layers laid over one another, later ones first; nested fields are merged, `data: X` stands for its source."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            value = {"source": value} if key == "data" and isinstance(value, str) else value
            if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
                value = merge(merged[key], value)
            merged[key] = value
    return merged


def make(model: type[Model], fields: Mapping[str, Any], where: str) -> Model:
    """A checked model; `where` names the file or command in the error.

    Raises:
        ConfigError: one line that names the field, its value, what is wrong, and for an unknown field the nearest known one.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error, model)}") from error


def make_recipe(fields: Mapping[str, Any], where: str) -> Recipe:
    """A checked recipe; see `make`."""
    return make(Recipe, fields, where)


def load_recipe(path: Path, flags: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe from a YAML file (which may name a preset) and flags."""
    fields = read_yaml(path)
    return make_recipe(merge(preset_fields(fields.pop("preset", None)), fields, flags or {}), str(path))


def dump_recipe(recipe: Recipe) -> str:
    """The complete recipe as YAML; `load_recipe` reads the same recipe from it."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_study(path: Path, flags: Mapping[str, Any] | None = None) -> Study:
    """A study from its YAML file; flags go over every run."""
    content = read_yaml(path)
    _refuse_unknown(content, _STUDY_KEYS, str(path))
    listed = content.get("runs")
    if not isinstance(listed, list) or not listed or not all(isinstance(run, dict) for run in listed):
        raise ConfigError(f"{path}: `runs` must be a list of runs, each with a name and its fields")
    runs: list[Run] = []
    first: dict[str, Any] = content.get("recipe") or {}
    for number, entry in enumerate(listed, 1):
        where = f"{path}: run {number} ({entry.get('name', 'no name')})"
        own = {key: value for key, value in entry.items() if key not in _RUN_KEYS}
        fields = merge(first, preset_fields(entry.get("preset")), own)
        first = fields if number == 1 else first
        runs.append(
            Run(
                name=_run_name(entry, where),
                hypothesis=entry.get("hypothesis", ""),
                recipe=make_recipe(merge(fields, flags or {}), where),
            )
        )
    names = [run.name for run in runs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(
            f"{path}: run name {twice.pop()!r} is used twice; every run has a directory of its own"
        )
    for place, run in enumerate(runs):
        if run.recipe.init_from in names[place:]:
            raise ConfigError(
                f"{path}: run {run.name} starts from {run.recipe.init_from!r}, which must stand before it in the file"
            )
    name = content.get("study", path.stem)
    return Study(
        name=name, objective=content.get("objective", ""), runs=runs, published=content.get("published") or {}
    )


def _run_name(entry: Mapping[str, Any], where: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.\-]+", name) or name.startswith("."):
        raise ConfigError(
            f"{where}: a run needs a `name` of letters, digits, '.', '_' and '-': it names its directory"
        )
    return name


def _refuse_unknown(content: Iterable[str], known: Iterable[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise ConfigError(f"{where}: unknown field {key!r}{nearest(key, known)}")


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of a pydantic error in one line."""
    fault = error.errors()[0]
    path = [str(part) for part in fault["loc"]]
    field = ".".join(path)
    if fault["type"] == "extra_forbidden":
        owner = model
        for part in path[:-1]:
            owner = (
                _model_in(owner.model_fields[part].annotation) if part in owner.model_fields else owner
            )  # else: a place in a list
        return f"unknown field {field!r}{nearest(path[-1], owner.model_fields)}"
    if fault["type"] == "missing":
        return f"field {field!r} is missing; give it in the file or as --{field.replace('_', '-').replace('.', '-')}"
    if not field:
        return fault["msg"].removeprefix("Value error, ")
    return f"field {field!r} is {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _model_in(kind: Any) -> type[BaseModel]:
    """The model inside an annotation such as `KL | None` or `tuple[Share, ...]`."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next(
        model for inner in get_args(kind) if inner not in (type(None), ...) for model in [_model_in(inner)]
    )
