"""Weights & Biases: its own login and variables (WANDB_…) apply; files in wandb/ beside the study's runs."""

from __future__ import annotations

from paceline.report.trackers.base import stable_id
from paceline.training.callbacks import RunView


class WandbTracker:
    """A run of a W&B project; it goes on under its id, which is kept in the run directory."""

    def __init__(self, run: RunView) -> None:
        import wandb

        self._run = wandb.init(
            project=run.recipe.track_project or run.study,
            name=run.name,
            id=stable_id(run.directory.path / "wandb-id"),
            resume="allow",
            config=run.recipe.model_dump(mode="json"),
            dir=str(run.directory.path.parent),
            reinit="create_new",  # runs that train together are open at once
            settings={"console": "off"},
        )
        # W&B's own step may only rise; a run that goes on from a checkpoint logs some steps again
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log({**values, "step": step})

    def close(self) -> None:
        self._run.finish()
