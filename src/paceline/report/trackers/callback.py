"""Figures of runs into their trackers while they train. A tracker that fails is dropped; the run goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from threading import Thread

from paceline.report.trackers.base import MeasuredEvent, Tracker, figures
from paceline.report.trackers.registry import NONE, find_tracker
from paceline.runs.events import EvalEvent, ScoreEvent, TrainEvent
from paceline.training.callbacks import Callback, RunView


class Trackers(Callback):
    """Sends the figures of runs to the tracker that each recipe names, opened at a run's first event.

    Leaving the `with` block closes them, all at once, so that a dead server is waited for only once.

    Args:
        log: takes a line about each tracker that fails; nothing more is sent for its run.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._open: dict[str, Tracker] = {}
        self._failed: set[str] = set()

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        with redirect_stdout(sys.stderr):
            threads = [Thread(target=self._close, args=pair) for pair in self._open.items()]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def on_log(self, run: RunView, event: TrainEvent) -> None:
        self._send(run, event)

    def on_evaluation(self, run: RunView, event: EvalEvent) -> None:
        self._send(run, event)

    def on_score(self, run: RunView, event: ScoreEvent) -> None:
        self._send(run, event)

    def _send(self, run: RunView, event: MeasuredEvent) -> None:
        kind = run.recipe.track
        if kind == NONE or run.name in self._failed:
            return
        try:
            with redirect_stdout(sys.stderr):  # trackers print; standard output is ours
                if run.name not in self._open:
                    self._open[run.name] = find_tracker(kind)(run)
                self._open[run.name].log(figures(event), event.step)
        except Exception as error:  # whatever a tracker does, training goes on
            self._open.pop(run.name, None)
            self._fail(run.name, f"{kind} failed and gets no more figures ({type(error).__name__}: {error})")

    def _close(self, name: str, tracker: Tracker) -> None:
        try:
            tracker.close()
        except Exception as error:
            self._fail(name, f"its tracker failed at the end ({type(error).__name__}: {error})")

    def _fail(self, name: str, reason: str) -> None:
        self._failed.add(name)
        self._log(f"{name}: {reason}")
