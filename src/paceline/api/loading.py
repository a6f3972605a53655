"""Recipes and studies from their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paceline.config import load
from paceline.config.recipe import Recipe
from paceline.config.rehearse import rehearsal
from paceline.config.replicates import Seeds, read_seeds, replicates
from paceline.config.study import Run, Study
from paceline.config.yaml_text import read_yaml
from paceline.errors import EvaluationError, MissingExtra


def load_study(
    path: str | Path, *, seeds: int | Sequence[int] | Mapping[str, Any] | None = None, **overrides: Any
) -> Study:
    """A study from its YAML file.

    Args:
        path: the file.
        seeds: how many seeds, or which, every run is trained with, in place of what the file says.
        overrides: recipe fields that go over those of every run: `lr=1e-4`, or nested `data={"n": 200}`.

    Raises:
        ConfigError: a file that cannot be read, or a field that makes no sense, with its name.
    """
    chosen = None if seeds is None else read_seeds(seeds, "load_study")
    return load.load_study(Path(path), overrides, chosen)


def load_recipe(path: str | Path, **overrides: Any) -> Recipe:
    """A recipe from its YAML file, which may name a preset.

    Args:
        path: the file.
        overrides: fields that go over the file's: `lr=1e-4`, or nested `data={"n": 200}`.

    Raises:
        ConfigError: a file that cannot be read, or a field that makes no sense, with its name.
    """
    return load.load_recipe(Path(path), overrides)


def rehearse(study: Study | str | Path) -> Study:
    """The study's rehearsal: the same runs on the embedded base and sample, with fewer steps.

    Args:
        study: a study or its file. All that tells its runs apart stays.

    Raises:
        ConfigError: a file that is no study.
    """
    rehearsed = rehearsal(as_study(study))
    if not any(run.recipe.eval.code for run in rehearsed.runs):
        return rehearsed
    from paceline.evaluate.study import check_evaluations

    try:
        check_evaluations([run.recipe for run in rehearsed.runs if run.recipe.eval.code])
    except (EvaluationError, MissingExtra) as error:
        return _without_code(rehearsed, str(error))
    return rehearsed


def _without_code(study: Study, reason: str) -> Study:
    """A rehearsal needs neither a compiler nor a sandbox: where one is missing, generated code is not run."""
    runs = []
    for run in study.runs:
        evaluation = run.recipe.eval.model_copy(update={"code": None})
        recipe = run.recipe.model_copy(update={"eval": evaluation})
        runs.append(run.model_copy(update={"recipe": recipe}))
    note = f"generated code is not run in this rehearsal: {reason}"
    left_out = {"code": f"left out of the rehearsal: {reason}"}
    return study.model_copy(update={"runs": runs, "notes": (*study.notes, note), "not_evaluated": left_out})


def as_study(source: Study | Recipe | str | Path, seeds: Seeds | None = None) -> Study:
    """A study as it is; a recipe as a study of one run; a file of either.

    Args:
        seeds: of a file: those of every run, in place of what it says.
    """
    if isinstance(source, Study):
        return source
    if isinstance(source, Recipe):
        return Study(name="run", runs=[Run(name="run", recipe=source)])
    path = Path(source)
    if "runs" in read_yaml(path):
        return load.load_study(path, seeds=seeds)
    recipe, notes = load.resolve_recipe(path)
    runs = replicates(Run(name=path.stem, recipe=recipe), seeds or Seeds())
    return Study(name=path.stem, runs=runs, notes=notes)
