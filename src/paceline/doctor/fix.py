"""Applies the changes that findings propose to a recipe or study file."""

import copy
import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from paceline.config.aliases import other_names
from paceline.config.load import read_yaml
from paceline.doctor.finding import Finding


def write_fixed(path: Path, findings: Iterable[Finding]) -> tuple[Path, str]:
    """Writes NAME.fixed.yaml beside a recipe or study file, and returns its path and the difference. The worst finding's value wins."""
    before = read_yaml(path)
    after = copy.deepcopy(before)
    runs = {run["name"]: run for run in after.get("runs", [])}
    for finding in reversed(list(findings)):
        for name in finding.run.split(", "):
            for field, value in finding.fix.items():
                _set(runs.get(name, after), field.split("."), value)
    target = path.with_name(f"{path.stem}.fixed.yaml")
    texts = [yaml.safe_dump(content, sort_keys=False, allow_unicode=True) for content in (before, after)]
    target.write_text(texts[1])
    old, new = (text.splitlines(keepends=True) for text in texts)
    lines = difflib.unified_diff(old, new, str(path), str(target))
    return target, "".join(lines)


def _set(fields: dict[str, Any], path: list[str], value: Any) -> None:
    for name in other_names(".".join(path)) & set(fields):
        del fields[name]  # two values of one setting would be refused
    for name in path[:-1]:
        inner = fields.get(name)
        fields[name] = {"source": inner} if name == "data" and isinstance(inner, str) else inner or {}
        fields = fields[name]
    fields[path[-1]] = value
