"""Trackio: on this machine, on a hub space, or on the server in TRACKIO_SERVER_URL."""

from __future__ import annotations

from contextvars import copy_context

from paceline.errors import MissingExtra, RunError
from paceline.report.trackers.fetched import Point, points
from paceline.training.callbacks import RunView


class TrackioTracker:
    """A run of a Trackio project."""

    def __init__(self, run: RunView) -> None:
        import trackio

        # in a context of its own, or Trackio would take one run for the current one and end it again at exit
        self._run = copy_context().run(
            trackio.init,
            project=run.recipe.track_project or run.study,
            name=run.name,
            config=run.recipe.model_dump(mode="json"),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
            space_id=run.recipe.track_space,
            private=True,
        )

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


def fetch_trackio(project: str) -> list[Point]:
    """The figures of every run of a project on this machine.

    Raises:
        MissingExtra: Trackio is not installed.
        RunError: no such project.
    """
    try:
        from trackio import Api, SQLiteStorage
    except ImportError as error:
        raise MissingExtra("`--from trackio`", "trackio", "track") from error
    try:
        runs = list(Api().runs(project))
    except ValueError as error:
        raise RunError(
            f"Trackio has no project {project!r} on this machine (TRACKIO_DIR says where)"
        ) from error
    found: list[Point] = []
    for run in runs:
        found += points(run.name, SQLiteStorage.get_logs(project, run.name, run_id=run.id))
    return found
