"""MLflow: the server in MLFLOW_TRACKING_URI, or MLflow's own default on this machine."""

from __future__ import annotations

import time

from paceline.config.study import flatten
from paceline.errors import MissingExtra, RunError
from paceline.report.trackers.base import stable_id
from paceline.report.trackers.fetched import Point
from paceline.training.callbacks import RunView

# What every MLflow server takes: characters of a parameter's value, and parameters at once.
_LONGEST_VALUE = 500
_BATCH = 100


class MlflowTracker:
    """A run of an MLflow experiment; it goes on under its id, which is kept in the run directory."""

    def __init__(self, run: RunView) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        experiment = run.recipe.track_project or run.study
        self._id = stable_id(run.directory.path / "mlflow-id", lambda: self._create(experiment, run.name))
        fields = flatten(run.recipe.model_dump(mode="json"))
        params = [Param(name, str(value)[:_LONGEST_VALUE]) for name, value in fields.items()]
        for start in range(0, len(params), _BATCH):
            self._client.log_batch(self._id, params=params[start : start + _BATCH])

    def _create(self, experiment: str, name: str) -> str:
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment)
        return str(self._client.create_run(number, run_name=name).info.run_id)

    def log(self, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._id)


def fetch_mlflow(experiment: str) -> list[Point]:
    """The figures of every run of an experiment, a point for each step.

    Raises:
        MissingExtra: MLflow is not installed.
        RunError: no such experiment, or its server does not answer.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise MissingExtra("`--from mlflow`", "mlflow", "mlflow") from error
    client = MlflowClient()
    try:
        known = client.get_experiment_by_name(experiment)
        if known is None:
            raise RunError(
                f"MLflow has no experiment {experiment!r} at {client.tracking_uri} (MLFLOW_TRACKING_URI)"
            )
        found: list[Point] = []
        for run in reversed(client.search_runs([known.experiment_id])):  # the newest comes first
            steps: dict[int, dict[str, float]] = {}
            for name in run.data.metrics:
                for metric in client.get_metric_history(run.info.run_id, name):
                    steps.setdefault(metric.step, {})[name] = metric.value
            found += [Point(run.info.run_name, step, steps[step]) for step in sorted(steps)]
    except MlflowException as error:
        raise RunError(f"MLflow at {client.tracking_uri}: {str(error).splitlines()[0]}") from error
    return found
