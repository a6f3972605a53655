"""Applies the changes that findings propose to a recipe or study file."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from paceline.config.aliases import other_names
from paceline.config.yaml_text import read_yaml
from paceline.doctor.finding import Finding, Value

Fields: TypeAlias = MutableMapping[str, Any]
"""A mapping of the file, as it was parsed."""


def write_fixed(path: Path, findings: Iterable[Finding]) -> tuple[Path, str]:
    """Writes NAME.fixed.yaml beside a recipe or study file; returns its path and the difference.

    Where findings disagree, the first one's value wins: it is the worst.
    """
    content = read_yaml(path)
    fixed = copy.deepcopy(content)
    for finding in reversed(list(findings)):
        for name in finding.run.split(", "):
            recipe = _recipe_of(fixed, name)
            for field, value in finding.fix.items():
                _set(recipe, field.split("."), value)
    target = path.with_name(f"{path.stem}.fixed.yaml")
    old, new = _dump(content), _dump(fixed)
    target.write_text(new)
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), str(path), str(target))
    return target, "".join(lines)


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
