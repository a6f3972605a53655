"""One writer: the process that trains a run holds its directory."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from paceline.errors import RunError
from paceline.runs.records import Record, read_record

FILE = ".lock"


class Holder(Record):
    """The process that holds a directory.

    `started` is when it began, in seconds since 1970: a pid that is used again is another process's.
    `saves_on_sigterm`: it answers the signal by a save and an orderly end.
    """

    host: str
    pid: int
    started: float
    saves_on_sigterm: bool = False

    @property
    def lives(self) -> bool:
        """Whether the process is this machine's and still there."""
        try:
            return self.host == socket.gethostname() and _started(self.pid) == self.started
        except psutil.Error:
            return False


@contextmanager
def hold_all(folders: Iterable[Path]) -> Iterator[None]:
    """Holds several run directories; see `hold`."""
    with ExitStack() as held:
        for folder in sorted(folders):
            held.enter_context(hold(folder))
        yield


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Holds a run directory until the block ends, as its only writer.

    The system lets go of a lock whose process has died, on this machine and over NFS; what such a process
    left behind is taken over. Where file systems have no locks, the process that the file names decides.

    Raises:
        RunError: another process holds it, and which; the directory cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} exists and is no run directory; choose another name or delete it")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _acquire(folder)
    except OSError as error:
        where = (missing or [folder])[-1]
        raise RunError(
            f"{where}: cannot be written ({error.strerror}); choose another place with --runs"
        ) from error
    try:
        yield
    finally:
        (folder / FILE).unlink(missing_ok=True)
        os.close(handle)
        with suppress(OSError):  # a folder in which something was written stays
            for path in missing:
                path.rmdir()


def _acquire(folder: Path) -> int:
    """The open lock file, locked and with this process in it."""
    path = folder / FILE
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            free = _lock(handle)
            # the one who held it may have taken the file away between the two calls
            same = _is_at(handle, path)
            if same and not free:
                raise RunError(_refusal(folder, _named_soon(path)))
            holder = _holder(path) if same else None
            if holder is not None and holder.lives:
                raise RunError(_refusal(folder, holder))
            if same:
                os.truncate(handle, 0)
                os.pwrite(handle, _ourselves().to_json().encode(), 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int) -> bool:
    """Whether the file is locked by us now; a file system without locks never says no."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def holder_of(folder: Path) -> Holder | None:
    """The process that a run directory's lock names, whether it lives or not; None: there is no lock."""
    return _holder(folder / FILE)


def _holder(path: Path) -> Holder | None:
    try:
        return read_record(path, Holder)
    except (RunError, OSError):  # it is being written, or was torn
        return None


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _named_soon(path: Path) -> Holder | None:
    """The holder of a lock that is taken: it names itself right after."""
    for _ in range(20):
        if (holder := _holder(path)) is not None:
            return holder
        time.sleep(0.05)
    return None


def _refusal(folder: Path, holder: Holder | None) -> str:
    who = ""
    if holder is not None:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.started))
        who = f" (pid {holder.pid} on {holder.host}, started {since})"
    return f"{folder}: a process already trains here{who}; wait for it, or end it and run the command again"


def _ourselves() -> Holder:
    saves = getattr(signal.getsignal(signal.SIGTERM), "saves_first", False)
    return Holder(
        host=socket.gethostname(), pid=os.getpid(), started=_started(os.getpid()), saves_on_sigterm=saves
    )


def _started(pid: int) -> float:
    return float(psutil.Process(pid).create_time())
