"""What a program may use, and what it did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Seconds of wall-clock, bytes of memory over all processes and all files together (files are in memory),
    processes, bytes of output kept, bytes of files in each of /work, /tmp and /dev/shm (nothing else can be
    written).
    """

    seconds: float = 10.0
    memory: int = 2**30
    processes: int = 64
    output: int = 64 * 1024
    files: int = 64 * 2**20

    @property
    def tasks(self) -> int:
        """Processes and their threads."""
        return 4 * self.processes


@dataclass(frozen=True)
class Result:
    """What a program did. `status` is its exit code.

    `ended` says which limit it was ended for: time, memory, processes or output.
    """

    status: int
    output: str
    seconds: float
    ended: str | None

    @property
    def ok(self) -> bool:
        return self.status == 0 and self.ended is None
