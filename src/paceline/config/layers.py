"""Layers of fields laid over one another: preset < a study's `recipe` < run < flag."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paceline.config.aliases import resolve_aliases
from paceline.config.fields import Fields
from paceline.config.presets import PRESETS
from paceline.errors import ConfigError, nearest

# One layer of fields, which is only read.
Layer = Mapping[str, Any]


def preset_fields(name: str | None) -> Fields:
    """The fields of a preset; none for None.

    Raises:
        ConfigError: no preset has this name.
    """
    if name is None:
        return {}
    if not isinstance(name, str):
        raise ConfigError(f"preset must be the name of one, not {name!r}")
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}{nearest(name, PRESETS)} (known: {', '.join(PRESETS)})")
    return PRESETS[name]


def merge(*layers: Layer) -> Fields:
    """The layers laid over one another, later ones on top.

    Nested fields are merged; `data: X` stands for its source.
    """
    merged: Fields = {}
    for layer in layers:
        for key, value in layer.items():
            value = {"source": value} if key == "data" and isinstance(value, str) else value
            if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
                value = merge(merged[key], value)
            merged[key] = value
    return merged


@dataclass
class RunLayers:
    """The layers of a study's runs.

    A run's fields are, later ones on top:

        1. its preset; without one of its own, the baseline's
        2. the study's `recipe`
        3. the fields that the baseline (the first run) writes itself
        4. the fields that the run writes itself

    A preset that a later run names takes the place of the baseline's, and of what the baseline wrote itself
    for the fields that this preset sets: the run asked for the preset's values, not for the baseline's.
    """

    recipe: Layer
    _baseline: Layer | None = None
    _baseline_preset: str | None = None

    def fields_of(self, preset: str | None, own: Layer) -> Fields:
        """The merged fields of the next run; the first one asked for is the baseline.

        Raises:
            ConfigError: no preset has this name.
        """
        if self._baseline is None:
            self._baseline, self._baseline_preset = own, preset
            return merge(preset_fields(preset), self.recipe, own)
        if preset is None:
            return merge(preset_fields(self._baseline_preset), self.recipe, self._baseline, own)
        chosen = preset_fields(preset)
        kept = {name: value for name, value in self._baseline.items() if name not in chosen}
        return merge(chosen, self.recipe, kept, own)


@dataclass
class Notes:
    """Lines for the user about settings that mean something else here than elsewhere, each once."""

    lines: list[str] = field(default_factory=list)

    def add(self, lines: Iterable[str]) -> None:
        self.lines += [line for line in dict.fromkeys(lines) if line not in self.lines]

    def resolve(self, fields: Layer, where: str) -> Fields:
        """The fields of one layer under Paceline's own names; see `resolve_aliases`."""
        resolved, lines = resolve_aliases(fields, where)
        self.add(lines)
        return resolved
