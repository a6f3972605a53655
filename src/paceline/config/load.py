"""From YAML files, presets and flags to recipes and studies."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from paceline.config.aliases import all_names, resolve_aliases
from paceline.config.criteria import Criterion, check_scale, parse_expectation, parse_success
from paceline.config.explain import explain
from paceline.config.fields import Fields
from paceline.config.idle import idle_settings
from paceline.config.layers import Notes, RunLayers, merge, preset_fields
from paceline.config.names import check_name, check_run_name
from paceline.config.recipe import Recipe
from paceline.config.replicates import Seeds, read_noise, read_seeds, replicates
from paceline.config.script_flags import early_stop_note
from paceline.config.study import Run, Study
from paceline.config.yaml_text import read_yaml
from paceline.errors import ConfigError, nearest

_STUDY_KEYS = ("study", "objective", "recipe", "runs", "published", "seeds", "noise", "success")
_RUN_KEYS = ("name", "hypothesis", "preset", "seeds", "expect", "success")
Model = TypeVar("Model", bound=BaseModel)


def make(model: type[Model], fields: Mapping[str, Any], where: str) -> Model:
    """A checked model; `where` names the file or command in the error.

    Raises:
        ConfigError: one line that names the field, its value, what is wrong, and for an unknown field the
        nearest known one.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(
            f"{where}: {explain(error, model, all_names() if model is Recipe else ())}"
        ) from error


class ResolvedRecipe(NamedTuple):
    """A recipe, and lines for the user about settings that change nothing or mean something else here."""

    recipe: Recipe
    notes: tuple[str, ...]


def make_recipe(fields: Mapping[str, Any], where: str) -> Recipe:
    """A checked recipe; see `make`. Fields may have the names that `resolve_aliases` understands."""
    return make(Recipe, resolve_aliases(fields, where).fields, where)


def resolve_recipe(
    file: Path | None = None, preset: str | None = None, flags: Mapping[str, Any] | None = None
) -> ResolvedRecipe:
    """A recipe from a preset, a YAML file and flags, later ones on top; the preset replaces the file's.

    Raises:
        ConfigError: as `make` and `resolve_aliases`.
    """
    where = str(file) if file else "recipe"
    notes = Notes()
    fields = read_yaml(file) if file else {}
    if "seeds" in fields:
        raise ConfigError(f"{where}: a recipe is one run; seeds belongs in a study, or is given as --seeds")
    named = fields.pop("preset", None)
    layers = [notes.resolve(fields, where), notes.resolve(flags or {}, "recipe")]
    recipe = make(Recipe, merge(preset_fields(preset or named), *layers), where)
    notes.add([*idle_settings(recipe), *early_stop_note(recipe)])
    return ResolvedRecipe(recipe, tuple(notes.lines))


def load_recipe(path: Path, flags: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe from a YAML file (which may name a preset) and flags."""
    return resolve_recipe(path, flags=flags).recipe


def dump_recipe(recipe: Recipe) -> str:
    """The complete recipe as YAML; `load_recipe` reads the same recipe from it."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_study(path: Path, flags: Mapping[str, Any] | None = None, seeds: Seeds | None = None) -> Study:
    """A study from its YAML file; flags go over every run. `RunLayers` says which fields a run has.

    Args:
        seeds: those of every run, in place of what the file says.

    Raises:
        ConfigError: a field, name, preset or order of runs that makes no sense, with the file and the run.
    """
    content = read_yaml(path)
    _refuse_unknown(content, _STUDY_KEYS, str(path))
    try:
        name = check_name(content.get("study", path.stem), "study name")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    listed = content.get("runs")
    if not isinstance(listed, list) or not listed or not all(isinstance(run, dict) for run in listed):
        raise ConfigError(f"{path}: `runs` must be a list of runs, each with a name and its fields")
    common = content.get("recipe") or {}
    if not isinstance(common, dict) or "preset" in common:
        raise ConfigError(f"{path}: `recipe` must be a mapping of fields; a preset is named by a run")
    published = content.get("published") or {}
    if not isinstance(published, dict):
        raise ConfigError(f"{path}: `published` must be a mapping of runs to their figures")
    notes = Notes()
    common = notes.resolve(common, f"{path}: recipe")
    layers = RunLayers(common)
    over = notes.resolve(flags or {}, "flags")
    runs: list[Run] = []
    for number, entry in enumerate(listed, 1):
        where = f"{path}: run {number} ({entry.get('name', 'no name')})"
        own = notes.resolve({key: value for key, value in entry.items() if key not in _RUN_KEYS}, where)
        try:
            fields = layers.fields_of(entry.get("preset"), own)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        recipe = make(Recipe, merge(fields, over), where)
        said = [*idle_settings(recipe), *early_stop_note(recipe)]
        notes.add(f"run {entry.get('name')}: {line}" for line in said)
        success = parse_success(entry.get("success", content.get("success", [])), where)
        if recipe.eval.mtbench:
            check_scale(success, recipe.eval.mtbench.judge, where)
        run = Run(
            name=_run_name(entry, where),
            hypothesis=_text(entry.get("hypothesis"), f"{where}: hypothesis"),
            recipe=recipe,
            expects=_expectation(entry, runs, where),
            success=success,
            written=_as_written(fields, where) if over else None,
        )
        chosen = seeds or _seeds_of(entry, content, number == 1, where)
        if chosen.listed and any("seed" in layer for layer in (common, own, over)):
            raise ConfigError(f"{where}: seed {recipe.seed} beside a list of seeds; leave one of them out")
        runs += replicates(run, chosen, runs)
    _check_order(runs, path)
    return Study(
        name=name,
        objective=_text(content.get("objective"), f"{path}: objective"),
        runs=runs,
        published=published,
        notes=tuple(notes.lines),
    )


def _text(value: Any, what: str) -> str:
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{what} must be a text, not {value!r}; put it in quotes")
    return value or ""


def _as_written(fields: Fields, where: str) -> Recipe | None:
    """A run's recipe without flags; None where the file alone makes none."""
    try:
        return make(Recipe, fields, where)
    except ConfigError:
        return None


def _expectation(entry: Fields, before: Sequence[Run], where: str) -> Criterion | None:
    """What a run's hypothesis claims: what `expect` says, else that it beats the baseline's held-out loss."""
    names = list(dict.fromkeys(run.recipe_name for run in before))
    if "expect" in entry:
        return parse_expectation(entry["expect"], where, names)
    return Criterion("eval_loss", "<", names[0]) if entry.get("hypothesis") and names else None


def _seeds_of(entry: Fields, study: Fields, is_baseline: bool, where: str) -> Seeds:
    """A run's own `seeds`, the study's `noise` for the baseline, the study's `seeds`, or one."""
    if "noise" in study and "seeds" in study:
        raise ConfigError(
            f"{where}: the study has both seeds and noise; seeds holds for all runs, noise for the baseline "
            "alone: leave one of them out"
        )
    if "noise" in study and is_baseline:
        if "seeds" in entry:
            raise ConfigError(
                f"{where}: seeds beside the study's noise, which both say how often the baseline "
                "is trained; leave one of them out"
            )
        return read_noise(study["noise"], where)
    if "seeds" in entry:
        return read_seeds(entry["seeds"], where)
    return read_seeds(study["seeds"], where) if "seeds" in study else Seeds()


def _check_order(runs: Sequence[Run], path: Path) -> None:
    """Refuses a name used twice, and a run that starts from a later one."""
    names = [run.name for run in runs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(
            f"{path}: run name {twice.pop()!r} is used twice, replicates' names (NAME-seedN) included; "
            "every run has a directory of its own"
        )
    for place, run in enumerate(runs):
        if run.recipe.init_from in names[place:]:
            raise ConfigError(
                f"{path}: run {run.name} starts from {run.recipe.init_from!r}, "
                "which must stand before it in the file"
            )


def _run_name(entry: Mapping[str, Any], where: str) -> str:
    if entry.get("name") is None:
        raise ConfigError(f"{where}: a run needs a `name`: it names its directory")
    try:
        return check_run_name(entry["name"])
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _refuse_unknown(content: Iterable[str], known: Iterable[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise ConfigError(f"{where}: unknown field {key!r}{nearest(key, known)}")
