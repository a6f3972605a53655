"""Fills real small disks while a run trains on them, in a mount namespace of its own."""

import contextlib
import ctypes
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers import adapter_bytes
from paceline.cli.main import main
from paceline.runs.directory import RunDirectory
from paceline.runs.manifest import find_damage

DISKS = {"bytes": "size=24m", "inodes": "size=24m,nr_inodes=60"}
LARGER = {"bytes": "size=48m", "inodes": "size=24m,nr_inodes=600"}
Watch = Callable[[str, tuple[Any, ...]], None]
WATCH: list[Watch] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    for told in WATCH:
        told(event, arguments)


def train(base: str, rows: str, runs: Path) -> dict[str, Any]:
    """What the command says and ends with."""
    sys.argv = ["paceline", "train", "--base", base, "--data", rows, "--runs", str(runs), "--run-name", "a"]
    sys.argv += ["--max-steps", "8", "--batch-size", "2", "--grad-accum", "1", "--save-steps", "2"]
    sys.argv += ["--logging-steps", "1", "--lora-r", "4", "--no-check"]
    errors, code = io.StringIO(), 0
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return {"code": code, "errors": errors.getvalue()}


def fill(disk: Path, what: str) -> None:
    """Takes all bytes, or all inodes, that are left."""
    with contextlib.suppress(OSError):
        if what == "bytes":
            with (disk / "others").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        for number in range(10_000):
            (disk / f"other-{number}").touch()


def on_a_full_disk(base: str, rows: str, disk: Path, what: str, whole: bytes) -> dict[str, Any]:
    """Training meets a full disk at its second checkpoint, again at once, and then has room."""
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", DISKS[what], "none", str(disk)], check=True)

    def at_the_second_checkpoint(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(arguments[1]).endswith("step-4"):
            WATCH.clear()
            fill(disk, what)

    WATCH.append(at_the_second_checkpoint)
    full = train(base, rows, disk)
    run = RunDirectory(disk / "a")
    found = run.all_checkpoints()
    left = {"newest": max(found), "damage": find_damage(found[max(found)])}
    partial = [str(path) for path in disk.rglob("*partial*")]
    again = train(base, rows, disk)
    subprocess.run(["mount", "-o", f"remount,{LARGER[what]}", str(disk)], check=True)
    ended = train(base, rows, disk)
    same = run.adapter.is_dir() and adapter_bytes(run.path) == whole
    return {"full": full, **left, "partial": partial, "again": again, "ended": ended, "same": same}


def enter_namespace() -> None:
    """Leaves the machine's mounts as they are: those made from here on are this process's alone."""
    user, group, libc = os.getuid(), os.getgid(), ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000 | 0x00020000):  # CLONE_NEWUSER, CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare: this machine lets nobody make namespaces")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def fill_disks(base: str, rows: str, folder: str, out: str) -> None:
    """Writes, as JSON, what each command said and ended with."""
    enter_namespace()
    sys.addaudithook(watch)
    train(base, rows, Path(folder) / "whole")
    whole = adapter_bytes(Path(folder) / "whole" / "a")
    found = {what: on_a_full_disk(base, rows, Path(folder) / what, what, whole) for what in DISKS}
    Path(out).write_text(json.dumps(found))
