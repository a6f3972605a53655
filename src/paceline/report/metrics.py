"""Fetch-metrics: the figures of runs, from their directories or from the tracker they were sent to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paceline.errors import RunError, nearest
from paceline.report.trackers.base import MeasuredEvent, figures
from paceline.report.trackers.fetched import Point, points
from paceline.report.trackers.mlflow import fetch_mlflow
from paceline.report.trackers.trackio import fetch_trackio
from paceline.report.trackers.wandb import fetch_wandb
from paceline.runs.events import read_events
from paceline.runs.files import read_json
from paceline.runs.study import run_directories


def fetch_runs(source: str) -> list[Point]:
    """The figures of a run directory or of a study's runs; of other trainers, of a trainer_state.json.

    Raises:
        RunError: neither of them, or damaged.
    """
    path = Path(source)
    if path.name == "trainer_state.json" or not any(
        (path / name).is_file() for name in ("recipe.yaml", "study.yaml")
    ):
        return _trainer_state(path)
    found = []
    for directory in run_directories([path]):
        for event in read_events(directory.events):
            if isinstance(event, MeasuredEvent):
                found.append(Point(directory.name, event.step, figures(event)))
    return found


FETCHERS: dict[str, Callable[[str], list[Point]]] = {
    "runs": fetch_runs,
    "trackio": fetch_trackio,
    "wandb": fetch_wandb,
    "mlflow": fetch_mlflow,
}


def fetch(source: str, tracker: str) -> list[Point]:
    """All logged figures of runs, in the order in which they were logged.

    Args:
        source: for `runs` a run directory, a study's folder or a trainer_state.json; for `trackio` a project;
            for `wandb` a folder of its files; for `mlflow` an experiment.
        tracker: one of FETCHERS.

    Raises:
        RunError: no such tracker or nothing there.
        MissingExtra: the tracker's library is not installed.
    """
    if tracker not in FETCHERS:
        known = ", ".join(FETCHERS)
        raise RunError(f"--from {tracker}: no such tracker{nearest(tracker, FETCHERS)} (known: {known})")
    found = FETCHERS[tracker](source)
    if not found:
        raise RunError(f"{source}: no figure is logged there")
    return found


def _trainer_state(path: Path) -> list[Point]:
    file = path / "trainer_state.json" if path.is_dir() else path
    if not file.is_file():
        raise RunError(
            f"{path}: neither a run directory, a study's folder nor a trainer_state.json; "
            "what a tracker has is named with --from"
        )
    try:
        history = read_json(file)["log_history"]
        return points(file.resolve().parent.name, history)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file}: not transformers' trainer_state.json ({error})") from error
