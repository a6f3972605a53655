"""A control group (version 2) for one run: the kernel's own limit on its memory, files in memory included."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import time
from pathlib import Path

from paceline.evaluate.sandbox.limits import Limits

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_NEEDED = {"memory", "pids"}


class ControlGroup:
    """A group for one run, whose processes are killed together when they are over the limit on memory."""

    def __init__(self, parent: Path, limits: Limits) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="paceline-", dir=parent))
        self._set("memory.max", limits.memory)
        self._set("memory.oom.group", 1)
        with contextlib.suppress(FileNotFoundError):  # no swap on this machine
            self._set("memory.swap.max", 0)
        self._set("pids.max", limits.tasks)

    def _set(self, name: str, value: int) -> None:
        (self.path / name).write_text(str(value))

    def take(self, pid: int) -> None:
        """Moves a process in; what it starts from then on is in as well."""
        self._set("cgroup.procs", pid)

    @property
    def is_over(self) -> bool:
        """Whether the kernel has killed for want of memory in it."""
        words = (self.path / "memory.events").read_text().split()
        return dict(zip(words[::2], words[1::2], strict=True)).get("oom_kill", "0") != "0"

    def remove(self) -> None:
        """Kills what is left, and removes the group; the kernel takes its time to bury processes."""
        with contextlib.suppress(OSError):
            self._set("cgroup.kill", 1)
        for _ in range(100):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.02)


def open_group(limits: Limits) -> ControlGroup | None:
    """A group with the limits; None where this user can make none."""
    parent = _parent()
    return None if parent is None else ControlGroup(parent, limits)


@functools.cache
def _parent() -> Path | None:
    """The nearest group above this process in which one with limits can be made."""
    own = next((line[3:] for line in _OWN.read_text().splitlines() if line.startswith("0::")), None)
    if own is None:
        return None
    folder = _ROOT / own.lstrip("/")
    for parent in (folder, *folder.parents):
        if not parent.is_relative_to(_ROOT):
            return None
        if _can_hold(parent):
            return parent
    return None


def _can_hold(parent: Path) -> bool:
    """Tries it: a group may be made, its processes limited, and processes moved into it."""
    try:
        controllers = (parent / "cgroup.subtree_control").read_text().split()
        if not _NEEDED.issubset(controllers):
            return False
        group = ControlGroup(parent, Limits())
        may_move = os.access(parent / "cgroup.procs", os.W_OK)
        group.remove()
        return may_move
    except OSError:
        return False
