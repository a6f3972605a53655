"""Applies the changes that findings propose to a recipe or study file."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from paceline.config.aliases import other_names
from paceline.config.load import load_study
from paceline.config.recipe import Recipe
from paceline.config.study import Run
from paceline.config.yaml_text import read_yaml
from paceline.doctor.finding import Finding, Value
from paceline.errors import ConfigError

Fields: TypeAlias = MutableMapping[str, Any]
"""A mapping of the file, as it was parsed."""


def write_fixed(path: Path, findings: Iterable[Finding]) -> tuple[Path, str]:
    """Writes NAME.fixed.yaml beside a recipe or study file; returns its path and the difference.

    Where findings disagree, the first one's value wins: it is the worst.
    """
    content = read_yaml(path)
    fixed = copy.deepcopy(content)
    was = _runs(path) if "runs" in content else {}
    for finding in reversed(list(findings)):
        names = {was[name].recipe_name if name in was else name for name in finding.run.split(", ")}
        for field, value in finding.fix.items():
            if was and content["runs"][0]["name"] in names:
                _pin(fixed, names, field.split("."), was)
            for name in names:
                _set(_recipe_of(fixed, name), field.split("."), value)
    target = path.with_name(f"{path.stem}.fixed.yaml")
    old, new = _dump(content), _dump(fixed)
    target.write_text(new)
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), str(path), str(target))
    return target, "".join(lines)


def _runs(path: Path) -> dict[str, Run]:
    """The runs of a study file as they are resolved, by name."""
    try:
        return {run.name: run for run in load_study(path).runs}
    except ConfigError:  # one that is no whole study is changed as it stands
        return {}


def _pin(content: Fields, names: Collection[str], path: list[str], was: Mapping[str, Run]) -> None:
    """Keeps what other runs take over from the baseline, whose entry is about to change."""
    for entry in content["runs"][1:]:
        name = entry.get("name")
        if name in was and name not in names and not _has(entry, path):
            _set(entry, *_value(was[name].recipe, path))


def _has(entry: Fields, path: list[str]) -> bool:
    if other_names(".".join(path)) & set(entry):
        return True
    inner: Any = entry
    for name in path:
        if not isinstance(inner, Mapping) or name not in inner:
            return False
        inner = inner[name]
    return True


def _value(recipe: Recipe, path: list[str]) -> tuple[list[str], Value]:
    """A recipe's value at a path, or at the first part of it that is not set."""
    value: Any = recipe
    for depth, name in enumerate(path, 1):
        value = getattr(value, name)
        if value is None:
            return path[:depth], None
    return path, value


def _recipe_of(content: Fields, run: str) -> Fields:
    """Where a run's fields are: in its entry, else in the study's recipe; in a recipe file, at the top."""
    if "runs" not in content:
        return content
    for entry in content["runs"]:
        if entry.get("name") == run:
            return entry  # type: ignore[no-any-return]
    return content.setdefault("recipe", {})  # type: ignore[no-any-return]


def _set(fields: Fields, path: list[str], value: Value) -> None:
    for name in other_names(".".join(path)) & set(fields):
        del fields[name]  # two values of one setting would be refused
    for name in path[:-1]:
        inner = fields.get(name)
        fields[name] = {"source": inner} if name == "data" and isinstance(inner, str) else inner or {}
        fields = fields[name]
    fields[path[-1]] = value


def _dump(content: Fields) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
