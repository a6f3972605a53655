"""Runs generated code where it can harm nothing: in bubblewrap, within limits, watched from outside."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from paceline.errors import EvaluationError

_NOBODY = 65534
_POLL = 0.05
_ISOLATION = [
    "--unshare-all",
    "--unshare-user",
    "--die-with-parent",
    "--new-session",
    "--clearenv",
    "--hostname",
    "sandbox",
]
# Address space of one process, in multiples of the memory limit: a burst between two looks ends there.
_ADDRESS_SPACE = 4
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/work", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Seconds of wall-clock, bytes of resident memory over all processes, processes, bytes of output kept, bytes
    of files written in each of /work, /tmp and /dev/shm (all in memory; nothing else can be written).
    """

    seconds: float = 10.0
    memory: int = 2**30
    processes: int = 64
    output: int = 64 * 1024
    files: int = 64 * 2**20


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


@dataclass(frozen=True)
class Sandbox:
    """Runs commands over a private /work in memory.

    There is no network, a read-only system, an empty environment, no file of any user, and no way to a user
    namespace of its own (where bubblewrap can forbid it: from 0.8 on).

    `readable` are folders that a command may read beside the system's (a toolchain). `contained` False runs
    without any of this, for users who accept that; limits hold all the same.
    """

    limits: Limits = Limits()
    readable: tuple[Path, ...] = ()
    contained: bool = True

    def run(
        self,
        command: Sequence[str],
        files: Mapping[str, str],
        stdin: str = "",
        limits: Limits | None = None,
        environment: Mapping[str, str] | None = None,
        out: Path | None = None,
        program: Path | None = None,
    ) -> Result:
        """Writes `files` into /work and runs `command` there.

        Args:
            out: a folder outside, seen under its own path, that the command may write into; for compilers
                alone, since only single files are limited there.
            program: a binary outside, seen under its own path. It is run without /proc and beside the
                system's libraries alone, so that what it is told in `stdin` cannot be read behind its back.

        Returns:
            What it printed, standard error included, and how it ended.
        """
        limits = limits or self.limits
        with tempfile.TemporaryDirectory(prefix="paceline-") as folder:
            place = Path(folder)
            place.chmod(0o755)
            for name, text in files.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(text)
            wrapped = list(command)
            if self.contained:
                mounts = _mounts(out, program)
                wrapped = self._wrap(command, place, limits, environment or {}, mounts, program is None)
                if out is not None and (user := self._user()) is not None:
                    os.chown(out, user, user)
            return _watch(wrapped, place, stdin, limits, self._user())

    def _user(self) -> int | None:
        """Root becomes nobody, so that the limit on processes holds, unless it cannot read the toolchain."""
        return (
            _NOBODY
            if self.contained and os.geteuid() == 0 and all(map(_open_to_all, self.readable))
            else None
        )

    def _wrap(
        self,
        command: Sequence[str],
        place: Path,
        limits: Limits,
        environment: Mapping[str, str],
        mounts: Sequence[str],
        with_system: bool,
    ) -> list[str]:
        memory = ["--size", str(limits.files), "--tmpfs"]
        words = ["bwrap", *_ISOLATION, *(["--disable-userns"] if _can_disable_userns() else [])]
        words += ["--dev", "/dev", *memory, "/dev/shm", "--remount-ro", "/dev", *memory, "/tmp"]
        words += _SYSTEM if with_system else _LIBRARIES
        for name in ("/bin", "/lib", "/lib64", "/sbin"):
            is_link = Path(name).is_symlink()
            words += ["--symlink", f"usr{name}", name] if is_link else ["--ro-bind-try", name, name]
        for name in ("/etc/alternatives", "/etc/ld.so.cache"):
            words += ["--ro-bind-try", name, name]
        for folder in self.readable if with_system else ():
            words += ["--ro-bind", str(folder), str(folder)]
        words += ["--ro-bind", str(place), "/given", *mounts]
        words += [*memory, "/work", "--chdir", "/work", "--remount-ro", "/"]
        for name, value in {**_ENVIRONMENT, **environment}.items():
            words += ["--setenv", name, value]
        return [*words, "--", *_COPY_FIRST, *command] if with_system else [*words, "--", *command]


_SYSTEM = ["--proc", "/proc", "--ro-bind", "/usr", "/usr"]
_LIBRARIES = ["--ro-bind", "/usr/lib", "/usr/lib", "--ro-bind-try", "/usr/lib64", "/usr/lib64"]
_COPY_FIRST = ["/bin/sh", "-c", 'cp -r /given/. /work/ && exec "$@"', "sh"]


def _mounts(out: Path | None, program: Path | None) -> list[str]:
    words = [] if out is None else ["--bind", str(out), str(out)]
    return words if program is None else [*words, "--ro-bind", str(program), str(program)]


@functools.cache
def _can_disable_userns() -> bool:
    """Whether this bubblewrap (0.8 or later, not setuid) can forbid user namespaces inside."""
    trial = ["bwrap", *_ISOLATION, "--disable-userns", "--ro-bind", "/", "/", "--", "/bin/true"]
    return subprocess.run(trial, capture_output=True).returncode == 0


def _open_to_all(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (folder, *folder.parents))


def _watch(command: list[str], place: Path, stdin: str, limits: Limits, user: int | None) -> Result:
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=place,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={"PATH": os.environ.get("PATH", os.defpath)},  # bubblewrap's own can be read from inside
        preexec_fn=lambda: _limit(limits),
        user=user,
        group=user,
        extra_groups=[] if user else None,
    )
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
        try:
            process.stdin.write(stdin.encode())
            process.stdin.close()
        except OSError:  # the program did not wait for it
            pass

    threads = [threading.Thread(target=work, daemon=True) for work in (read, feed)]
    for thread in threads:
        thread.start()
    while process.poll() is None and not ended:
        time.sleep(_POLL)
        if why := _over(process.pid, limits, time.monotonic() - began):
            ended.append(why)
    if process.poll() is None:
        _end(process)
    threads[0].join(2)
    status = process.wait()
    return Result(
        status=status,
        output=kept.decode(errors="replace"),
        seconds=time.monotonic() - began,
        ended=ended[0] if ended else None,
    )


def _limit(limits: Limits) -> None:
    wanted = {
        resource.RLIMIT_FSIZE: limits.files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: _ADDRESS_SPACE * limits.memory,
        resource.RLIMIT_CPU: int(limits.seconds) + 1,
        resource.RLIMIT_NPROC: 4 * limits.processes,
    }
    for name, value in wanted.items():
        hard = resource.getrlimit(name)[1]
        unlimited = hard == resource.RLIM_INFINITY
        resource.setrlimit(name, (value, value) if unlimited else (min(value, hard), hard))


def _over(pid: int, limits: Limits, seconds: float) -> str | None:
    """Which limit the processes under `pid` are over, if any."""
    if seconds > limits.seconds:
        return "time"
    try:
        family = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return None
    if len(family) > limits.processes:
        return "processes"
    memory = 0
    for member in family:
        try:
            memory += member.memory_info().rss
        except psutil.Error:
            continue
    return "memory" if memory > limits.memory else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills the whole family. Inside bubblewrap the first process's end takes its namespace with it."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        family = []
    for member in [*family]:
        try:
            member.kill()
        except psutil.Error:
            continue
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def open_sandbox(
    readable: Sequence[Path] = (), limits: Limits | None = None, accept_unsandboxed: bool = False
) -> Sandbox:
    """A sandbox that was tried out.

    Raises:
        EvaluationError: bubblewrap is missing, or the kernel forbids it, and running without was not
        accepted.
    """
    sandbox = Sandbox(limits or Limits(), tuple(readable))
    if shutil.which("bwrap") is None:
        why = "bubblewrap is not installed (Debian, Ubuntu: apt-get install bubblewrap)"
    else:
        result = sandbox.run(["true"], {})
        if result.ok:
            return sandbox
        printed = result.output.strip().splitlines() or ["no reason given"]
        why = f"bubblewrap does not work here: {printed[0]}; the kernel may forbid user namespaces"
    if accept_unsandboxed:
        return replace(sandbox, contained=False)
    raise EvaluationError(
        f"generated code runs in a sandbox only, and {why}; leave out eval.code, "
        "or accept the risk with `paceline eval code --i-accept-unsandboxed`"
    )
