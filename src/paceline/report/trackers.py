"""Events into a tracker: Trackio or TensorBoard. A tracker that fails is left alone; the run goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from paceline.config.recipe import Recipe
from paceline.runs.directory import RunDirectory
from paceline.train.run import Sink

# Events whose figures are worth a curve.
_DRAWN = ("train", "eval", "mtbench")
Say = Callable[[str], None]
# What takes figures at a step, and what ends a tracker.
Opened = tuple[Callable[[dict[str, float], int], Any], Callable[[], Any]]


@contextmanager
def tracking(log: Say) -> Iterator[Callable[[str, RunDirectory, Recipe], Sink]]:
    """What makes the sinks of a study's runs. On leaving, all trackers send what they still hold, at once: a dead server is waited for once.

    `say` is told once of every tracker that fails.
    """
    tracked: list[_Tracked] = []

    def make(study: str, directory: RunDirectory, recipe: Recipe) -> Sink:
        if recipe.track == "none":
            return lambda event: None
        tracked.append(_Tracked(study, directory, recipe, log))
        return tracked[-1]

    try:
        yield make
    finally:
        with redirect_stdout(sys.stderr):
            closing = [Thread(target=one.close) for one in tracked]
            for thread in closing:
                thread.start()
            for thread in closing:
                thread.join()


@dataclass
class _Tracked:
    """One run's tracker, opened at its first event; None before, and after a fault."""

    study: str
    directory: RunDirectory
    recipe: Recipe
    log: Say
    opened: Opened | None = None
    failed: bool = False

    def __call__(self, event: dict[str, Any]) -> None:
        if not self.failed and event["event"] in _DRAWN:
            with redirect_stdout(sys.stderr):  # Trackio prints; standard output is ours
                self._guarded(lambda: self._open()[0](figures(event), int(event["step"])))

    def close(self) -> None:
        if self.opened is not None:
            self._guarded(self.opened[1])

    def _open(self) -> Opened:
        open_tracker = {"trackio": _trackio, "tensorboard": _tensorboard}[self.recipe.track]
        self.opened = self.opened or open_tracker(self.study, self.directory, self.recipe)
        return self.opened

    def _guarded(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:  # whatever a tracker does, training is not its business
            self.failed, self.opened = True, None
            self.log(
                f"{self.directory.name}: {self.recipe.track} failed and is left alone ({type(error).__name__}: {error})"
            )


def figures(event: dict[str, Any]) -> dict[str, float]:
    """An event's plain numbers, by the names of the log under the event's own; the bare base's evaluation is step 0 of the same curve."""
    return {
        f"{event['event']}/{key}": float(value)
        for key, value in event.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key != "step"
    }


def _trackio(study: str, directory: RunDirectory, recipe: Recipe) -> Opened:
    import trackio

    run = copy_context().run(  # of its own, or Trackio would take one run for the current one and end it again at exit
        trackio.init, project=recipe.track_project or study, name=directory.name, config=recipe.model_dump(mode="json"), resume="allow", embed=False,
        auto_log_gpu=False, auto_log_cpu=False, space_id=recipe.track_space, private=True,
    )  # fmt: skip
    return (lambda values, step: run.log(values, step=step)), run.finish


def _tensorboard(study: str, directory: RunDirectory, recipe: Recipe) -> Opened:
    from torch.utils.tensorboard import SummaryWriter

    folder: Path = directory.path.parent / "tensorboard" / directory.name
    writer: Any = SummaryWriter(str(folder))

    def log(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return log, writer.close
