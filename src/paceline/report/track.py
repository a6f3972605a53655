"""Events into a tracker: Trackio or TensorBoard. A tracker that fails is left alone; the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from paceline.config.recipe import Recipe
from paceline.train.run import Sink
from paceline.train.rundir import RunDirectory

# Events whose figures are worth a curve.
_DRAWN = ("train", "eval", "mtbench")


def tracker(say: Callable[[str], None]) -> Callable[[str, RunDirectory, Recipe], Sink]:
    """Makes the sinks of a study's runs; `say` is told once when one fails."""

    def make(study: str, directory: RunDirectory, recipe: Recipe) -> Sink:
        if recipe.track == "none":
            return lambda event: None
        opened = {"trackio": _trackio, "tensorboard": _tensorboard}[recipe.track]
        log: Callable[[dict[str, float], int], None] | None = None
        failed = False

        def sink(event: dict[str, Any]) -> None:
            nonlocal log, failed
            if failed or event["event"] not in _DRAWN:
                return
            try:
                log = log or opened(study, directory, recipe)
                log(figures(event), int(event["step"]))
            except Exception as error:  # whatever a tracker does, training is not its business
                failed = True
                say(f"{directory.name}: {recipe.track} failed and is left alone ({type(error).__name__}: {error})")

        return sink

    return make


def figures(event: dict[str, Any]) -> dict[str, float]:
    """An event's plain numbers, by the names of the log under the event's own; the bare base's evaluation is step 0 of the same curve."""
    return {
        f"{event['event']}/{key}": float(value)
        for key, value in event.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key != "step"
    }


def _trackio(study: str, directory: RunDirectory, recipe: Recipe) -> Callable[[dict[str, float], int], None]:
    import trackio

    space = recipe.track_space or ""
    place = {"server_url": space} if space.startswith(("http://", "https://")) else {"space_id": space or None}
    run = trackio.init(
        project=recipe.track_project or study, name=directory.name, config=recipe.model_dump(mode="json"), resume="allow", embed=False,
        auto_log_gpu=False, **place,
    )  # fmt: skip
    return lambda values, step: run.log(values, step=step)


def _tensorboard(study: str, directory: RunDirectory, recipe: Recipe) -> Callable[[dict[str, float], int], None]:
    from torch.utils.tensorboard import SummaryWriter

    folder: Path = directory.path.parent / "tensorboard" / directory.name
    writer: Any = SummaryWriter(str(folder))

    def log(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return log
