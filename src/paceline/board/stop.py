"""Who trains a study's runs, and how they are asked to save and stop."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.lock import Holder, holder_of


@dataclass(frozen=True)
class Trainer:
    """A process with the runs that it holds."""

    holder: Holder
    runs: list[str]

    @property
    def obstacle(self) -> str:
        """Why it cannot be stopped from here; empty: it can."""
        holder = self.holder
        if holder.host != socket.gethostname():
            return (
                f"it trains on another machine, {holder.host} (pid {holder.pid}): stop it there, with "
                f"`kill {holder.pid}` or Ctrl-C"
            )
        if not holder.saves_on_sigterm:
            return (
                f"pid {holder.pid} was started from Python and would end without a save; stop it there, by a "
                "callback's `wants_stop`"
            )
        return ""


def trainers(directories: Iterable[RunDirectory]) -> list[Trainer]:
    """The processes that hold runs; those of this machine that are gone are left out."""
    found: dict[tuple[str, int, float], Trainer] = {}
    for directory in directories:
        holder = holder_of(directory.path)
        if holder is None or (holder.host == socket.gethostname() and not holder.lives):
            continue
        key = holder.host, holder.pid, holder.started
        found.setdefault(key, Trainer(holder, [])).runs.append(directory.name)
    return list(found.values())


def stop(directories: Iterable[RunDirectory], run: str) -> Trainer:
    """Asks the process that trains a run to save after its step and end: all that it holds stop.

    Raises:
        RunError: nobody trains it, or it cannot be stopped from here, and why.
    """
    trainer = next((one for one in trainers(directories) if run in one.runs), None)
    if trainer is None:
        raise RunError(f"{run[:100]}: no process trains this run now")
    if trainer.obstacle:
        raise RunError(f"{run}: {trainer.obstacle}")
    try:
        psutil.Process(trainer.holder.pid).send_signal(signal.SIGTERM)
    except psutil.Error as error:
        raise RunError(f"{run}: pid {trainer.holder.pid} cannot be told to stop ({error})") from error
    return trainer
