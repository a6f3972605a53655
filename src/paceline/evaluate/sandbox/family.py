"""What the processes of a sandbox hold, seen from outside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

# An empty file takes no block of its folder in memory, but this much of the kernel's.
_INODE = 1024
# Lines of /proc/PID/status, in KiB: memory of its own, what of it was swapped out, and its page tables.
# Pages of files are left out: those of the system are everybody's, those of folders in memory counted there.
_OWN = ("RssAnon:", "VmSwap:", "VmPTE:")


def family_of(pid: int) -> list[int]:
    """All processes that come from one, without it, parents before their children."""
    family = []
    for child in _children(pid):
        family += [child, *family_of(child)]
    return family


def _children(pid: int) -> Iterator[int]:
    for task in _tasks(pid):
        yield from map(int, _read(f"{task}/children").split())


def memory_of(family: list[int]) -> int:
    """Bytes that processes hold; pages that a fork shares count for both."""
    return sum(map(_memory, family))


def _memory(pid: int) -> int:
    status = _read(f"/proc/{pid}/status")
    if "RssAnon:" not in status:  # its first thread has ended, others may go on
        status = next((text for task in _tasks(pid) if "RssAnon:" in (text := _read(f"{task}/status"))), "")
    lines = (line.split() for line in status.splitlines() if line.startswith(_OWN))
    return sum(1024 * int(words[1]) for words in lines)


def sockets_of(pid: int) -> int:
    """Bytes that the pairs of sockets in a process's network may hold."""
    return _read(f"/proc/{pid}/net/unix").count("\n") * 2 * int(_read("/proc/sys/net/core/wmem_default") or 0)


def files_of(pid: int, folders: tuple[str, ...]) -> int:
    """Bytes of the files in a process's folders in memory."""
    return sum(_held_in(f"/proc/{pid}/root", folder) for folder in folders)


def size_of(folder: Path) -> int:
    """Bytes on disk of the files in a folder that others write at the same time."""
    held = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # it has gone meanwhile
                held += 512 * os.lstat(os.path.join(place, name)).st_blocks
    return held


def _held_in(root: str, folder: str) -> int:
    try:
        top = os.open(root, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return 0
    try:
        if os.path.samestat(os.fstat(top), os.stat("/")):  # not set up yet: these folders are ours
            return 0
        inside = os.open(folder.lstrip("/"), os.O_RDONLY | os.O_DIRECTORY, dir_fd=top)
    except OSError:
        return 0
    finally:
        os.close(top)
    there = os.fstatvfs(inside)
    os.close(inside)
    return (there.f_blocks - there.f_bfree) * there.f_frsize + (there.f_files - there.f_ffree) * _INODE


def _tasks(pid: int) -> list[str]:
    try:
        return [f"/proc/{pid}/task/{task}" for task in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:  # it has ended meanwhile
        return ""
