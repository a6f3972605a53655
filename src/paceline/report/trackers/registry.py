"""The trackers by name: ours, and those that other packages add as entry points of `paceline.trackers`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from paceline.config.recipe import Recipe
from paceline.errors import ConfigError, MissingExtra, nearest
from paceline.report.trackers.base import TrackerFactory

GROUP = "paceline.trackers"
NONE = "none"


@dataclass(frozen=True, kw_only=True)
class _Ours:
    """A tracker of ours: where it is, the library that it sends to, and the extra that brings the library."""

    factory: str
    library: str
    extra: str


_OURS = {
    "trackio": _Ours(
        factory="paceline.report.trackers.trackio:TrackioTracker", library="trackio", extra="track"
    ),
    "tensorboard": _Ours(
        factory="paceline.report.trackers.tensorboard:TensorBoardTracker",
        library="tensorboard",
        extra="track",
    ),
    "wandb": _Ours(factory="paceline.report.trackers.wandb:WandbTracker", library="wandb", extra="wandb"),
    "mlflow": _Ours(
        factory="paceline.report.trackers.mlflow:MlflowTracker", library="mlflow", extra="mlflow"
    ),
}


def tracker_names() -> list[str]:
    """All names that `track` may have."""
    return [NONE, *_OURS, *(entry.name for entry in entry_points(group=GROUP) if entry.name not in _OURS)]


def find_tracker(name: str) -> TrackerFactory:
    """What opens a run's tracker.

    Raises:
        ConfigError: no tracker of that name, or one that cannot be loaded.
        MissingExtra: its library is not installed.
    """
    if ours := _OURS.get(name):
        try:
            import_module(ours.library)
        except ImportError as error:
            raise MissingExtra(f"`track: {name}`", ours.library, ours.extra) from error
        return cast(TrackerFactory, EntryPoint(name, ours.factory, GROUP).load())
    for entry in entry_points(group=GROUP, name=name):
        try:
            return cast(TrackerFactory, entry.load())
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"tracker {name!r} ({entry.value}) cannot be loaded: {reason}") from error
    names = tracker_names()
    raise ConfigError(f"no tracker {name!r}{nearest(name, names)}; there are {', '.join(names)}")


def check_trackers(recipes: Iterable[Recipe]) -> None:
    """Refuses, before anything is spent, a `track` that cannot be followed.

    Raises:
        ConfigError: an unknown tracker, with the nearest name, or one that cannot be loaded.
        MissingExtra: a tracker whose library is not installed.
    """
    for name in sorted({recipe.track for recipe in recipes} - {NONE}):
        find_tracker(name)
