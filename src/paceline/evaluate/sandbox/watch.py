"""Runs a command within limits: some set before it begins, the others looked after from outside."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paceline.evaluate.sandbox.control_group import ControlGroup
from paceline.evaluate.sandbox.family import family_of, files_of, memory_of, size_of, sockets_of
from paceline.evaluate.sandbox.limits import Limits, Result

# Seconds between two looks: at most, and at least.
_POLL = 0.05
_SOON = 0.002
# Bytes that one core can fill in a second. The next look comes before the rest of the limit can be full.
_FILLED = 4 * 2**30
# Address space of one process, in multiples of the memory limit; what is reserved but not used counts.
_ADDRESS_SPACE = 4
_OPEN_FILES = 256
# The watcher comes first where there are more programs than cores.
_NICE = 5
# Waits for a line, then becomes the command: all that it starts is then in the control group as well.
_WAIT = 'read _; exec "$@"'


@dataclass(frozen=True)
class Ways:
    """How a command is run.

    Args:
        user: who it becomes; None: who we are.
        files: descriptors that it inherits.
        group: the control group that holds it to its memory; without one it is looked after.
        folders: those in memory that it may write.
        out: the folder of ours that it may write.
        stop: what ends it, beside its processes here.
    """

    user: int | None = None
    files: Sequence[int] = ()
    group: ControlGroup | None = None
    folders: tuple[str, ...] = ()
    out: Path | None = None
    stop: Callable[[], None] = field(default=lambda: None)


def watch(command: Sequence[str], place: Path, stdin: str, limits: Limits, ways: Ways) -> Result:
    """Runs a command in a folder until it ends, or is ended because it is over a limit."""
    began = time.monotonic()
    process = _start(command, place, limits, ways)
    if ways.group:
        ways.group.take(process.pid)
        stdin = f"\n{stdin}"
    kept = bytearray()
    ended: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        while chunk := process.stdout.read1(65536):  # type: ignore[attr-defined]
            kept.extend(chunk[: limits.output - len(kept)])
            if len(kept) >= limits.output and not ended:
                ended.append("output")

    def feed() -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # the program did not wait for it
            process.stdin.write(stdin.encode())
            process.stdin.close()

    threads = [threading.Thread(target=work, daemon=True) for work in (read, feed)]
    for thread in threads:
        thread.start()
    pause = _SOON
    while process.poll() is None and not ended:
        time.sleep(pause)
        why, pause = _look(process.pid, limits, ways, time.monotonic() - began)
        ended += [why] if why else []
    if process.poll() is None:
        _end(process)
        ways.stop()
    threads[0].join(2)
    status = process.wait()
    if ways.group and ways.group.is_over:
        ended.append("memory")
    return Result(
        status=status,
        output=kept.decode(errors="replace"),
        seconds=time.monotonic() - began,
        ended=ended[0] if ended else None,
    )


def _start(command: Sequence[str], place: Path, limits: Limits, ways: Ways) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", _WAIT, "sh", *command] if ways.group else command,
        cwd=place,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,  # not a session, which Linux may give a share of the cores whatever its priority
        env={"PATH": os.environ.get("PATH", os.defpath)},  # bubblewrap's own can be read from inside
        preexec_fn=lambda: _limit(limits),
        pass_fds=ways.files,
        user=ways.user,
        group=ways.user,
        extra_groups=[] if ways.user else None,
    )


def _limit(limits: Limits) -> None:
    os.nice(_NICE)
    wanted = {
        resource.RLIMIT_FSIZE: limits.files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_DATA: limits.memory,
        resource.RLIMIT_AS: _ADDRESS_SPACE * limits.memory,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CPU: int(limits.seconds) + 1,
        resource.RLIMIT_NPROC: limits.tasks,
    }
    for name, value in wanted.items():
        hard = resource.getrlimit(name)[1]
        unlimited = hard == resource.RLIM_INFINITY
        resource.setrlimit(name, (value, value) if unlimited else (min(value, hard), hard))


def _look(pid: int, limits: Limits, ways: Ways, seconds: float) -> tuple[str | None, float]:
    """(the limit that the processes under `pid` are over, if any; seconds until the next look)."""
    if seconds > limits.seconds:
        return "time", 0.0
    family = family_of(pid)
    if len(family) > limits.processes:
        return "processes", 0.0
    if ways.group is not None:
        return None, _POLL
    room = limits.memory - memory_of(family if ways.folders else [pid, *family])
    if ways.out is not None:
        room -= size_of(ways.out)
    if family and ways.folders:
        room -= files_of(family[0], ways.folders) + sockets_of(family[0])
    if room < 0:
        return "memory", 0.0
    return None, min(_POLL, max(_SOON, room / (_FILLED * (os.cpu_count() or 1))))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills the whole family. Inside bubblewrap the first process's end takes its namespace with it."""
    for member in family_of(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
