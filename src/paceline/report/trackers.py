"""Events into a tracker: Trackio or TensorBoard. A tracker that fails is left alone; the run goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from contextvars import copy_context
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

from paceline.config.recipe import Recipe
from paceline.runs.directory import RunDirectory
from paceline.runs.events import EvalEvent, ScoreEvent, TrainEvent
from paceline.train.callbacks import Callback, RunView

Drawn = TrainEvent | EvalEvent | ScoreEvent


class Tracker(Protocol):
    """One run's curves somewhere else."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Adds a point to each curve."""
        ...

    def close(self) -> None:
        """Sends what is still held."""
        ...


class Trackers(Callback):
    """Sends the figures of runs to the tracker that each recipe names, opened at a run's first event.

    Leaving the `with` block closes all of them at once, so a dead server is waited for once. `log` is told once of every
    tracker that fails; that run is then left alone.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._open: dict[str, Tracker] = {}
        self._failed: set[str] = set()

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        with redirect_stdout(sys.stderr):
            closing = [Thread(target=self._close, args=(name, one)) for name, one in self._open.items()]
            for thread in closing:
                thread.start()
            for thread in closing:
                thread.join()

    def on_log(self, run: RunView, event: TrainEvent) -> None:
        self._send(run, event)

    def on_evaluation(self, run: RunView, event: EvalEvent) -> None:
        self._send(run, event)

    def on_score(self, run: RunView, event: ScoreEvent) -> None:
        self._send(run, event)

    def _send(self, run: RunView, event: Drawn) -> None:
        kind = run.recipe.track
        if kind == "none" or run.name in self._failed:
            return
        try:
            with redirect_stdout(sys.stderr):  # Trackio prints; standard output is ours
                if run.name not in self._open:
                    self._open[run.name] = _KINDS[kind](run.study, run.directory, run.recipe)
                self._open[run.name].log(figures(event), event.step)
        except Exception as error:  # whatever a tracker does, training is not its business
            self._open.pop(run.name, None)
            self._fail(run.name, f"{kind} failed and is left alone ({type(error).__name__}: {error})")

    def _close(self, name: str, tracker: Tracker) -> None:
        try:
            tracker.close()
        except Exception as error:
            self._fail(name, f"its tracker failed at the end ({type(error).__name__}: {error})")

    def _fail(self, name: str, reason: str) -> None:
        self._failed.add(name)
        self._log(f"{name}: {reason}")


def figures(event: Drawn) -> dict[str, float]:
    """An event's plain numbers, by the names of the log under the event's own.

    The bare base's evaluation is step 0 of the same curve.
    """
    return {f"{event.event}/{name}": value for name, value in event.figures.items() if name != "step"}


class Trackio:
    """A run of a Trackio project: on this machine, on a hub space, or on the server in TRACKIO_SERVER_URL."""

    def __init__(self, study: str, directory: RunDirectory, recipe: Recipe) -> None:
        import trackio

        # a context of its own, or Trackio would take one run for the current one and end it again at exit
        self._run = copy_context().run(
            trackio.init,
            project=recipe.track_project or study,
            name=directory.name,
            config=recipe.model_dump(mode="json"),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
            space_id=recipe.track_space,
            private=True,
        )

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


class TensorBoard:
    """Event files in tensorboard/RUN beside the study's runs."""

    def __init__(self, study: str, directory: RunDirectory, recipe: Recipe) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder: Path = directory.path.parent / "tensorboard" / directory.name
        self._writer: Any = SummaryWriter(str(folder))

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


_KINDS: dict[str, Callable[[str, RunDirectory, Recipe], Tracker]] = {
    "trackio": Trackio,
    "tensorboard": TensorBoard,
}
