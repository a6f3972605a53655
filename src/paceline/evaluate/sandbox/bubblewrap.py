"""A sandbox of the kernel's namespaces: bubblewrap."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paceline.evaluate.sandbox.control_group import open_group
from paceline.evaluate.sandbox.limits import Limits, Result
from paceline.evaluate.sandbox.system_calls import filter_file
from paceline.evaluate.sandbox.watch import Ways, watch

_NOBODY = 65534
_ISOLATION = [
    "--unshare-all",
    "--unshare-user",
    "--die-with-parent",
    "--clearenv",
    "--hostname",
    "sandbox",
]
_SYSTEM = ["--proc", "/proc", "--ro-bind", "/usr", "/usr"]
_LIBRARIES = ["--ro-bind", "/usr/lib", "/usr/lib", "--ro-bind-try", "/usr/lib64", "/usr/lib64"]
# /dev/full reads as zeros too, but cannot be mapped; shared maps of /dev/zero are memory that nobody counts.
# /dev/tty would be our terminal: a program is in our session (see watch).
_DEVICES = ["--dev", "/dev", "--dev-bind", "/dev/full", "/dev/zero", "--dev-bind", "/dev/null", "/dev/tty"]
_FOLDERS = ("/work", "/tmp", "/dev/shm")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/work", "LANG": "C.UTF-8"}
COPY_FIRST = ["/bin/sh", "-c", 'cp -r /given/. /work/ && exec "$@"', "sh"]


@dataclass(frozen=True)
class Bubblewrap:
    """No network, a read-only system, no file of any user, no new namespace, fewer system calls."""

    readable: tuple[Path, ...] = ()

    def run(
        self,
        command: Sequence[str],
        place: Path,
        stdin: str,
        limits: Limits,
        environment: Mapping[str, str],
        out: Path | None,
        program: Path | None,
    ) -> Result:
        """Runs it with a copy of `place` as /work; see Sandbox.run."""
        user = self._user()
        if out is not None and user is not None:
            os.chown(out, user, user)
        rules = filter_file()
        group = open_group(limits)
        wrapped = self._wrap(command, place, limits, environment, out, program, rules)
        try:
            return watch(wrapped, place, stdin, limits, Ways(user, [rules], group, _FOLDERS, out))
        finally:
            os.close(rules)
            if group is not None:
                group.remove()

    def _user(self) -> int | None:
        """Root becomes nobody, so that the limit on processes holds, unless it cannot read the toolchain."""
        return _NOBODY if os.geteuid() == 0 and all(map(_open_to_all, self.readable)) else None

    def _wrap(
        self,
        command: Sequence[str],
        place: Path,
        limits: Limits,
        environment: Mapping[str, str],
        out: Path | None,
        program: Path | None,
        rules: int,
    ) -> list[str]:
        memory = ["--size", str(limits.files), "--tmpfs"]
        words = ["bwrap", *_ISOLATION, *(["--disable-userns"] if _can_disable_userns() else [])]
        words += ["--seccomp", str(rules)]
        words += [*_DEVICES, *memory, "/dev/shm", "--remount-ro", "/dev", *memory, "/tmp"]
        words += _SYSTEM if program is None else _LIBRARIES
        for name in ("/bin", "/lib", "/lib64", "/sbin"):
            is_link = Path(name).is_symlink()
            words += ["--symlink", f"usr{name}", name] if is_link else ["--ro-bind-try", name, name]
        for name in ("/etc/alternatives", "/etc/ld.so.cache"):
            words += ["--ro-bind-try", name, name]
        for folder in self.readable if program is None else ():
            words += ["--ro-bind", str(folder), str(folder)]
        words += ["--ro-bind", str(place), "/given"]
        words += ["--bind", str(out), str(out)] if out is not None else []
        words += ["--ro-bind", str(program), str(program)] if program is not None else []
        words += [*memory, "/work", "--chdir", "/work", "--remount-ro", "/"]
        for name, value in {**_ENVIRONMENT, **environment}.items():
            words += ["--setenv", name, value]
        return [*words, "--", *(COPY_FIRST if program is None else []), *command]


@functools.cache
def _can_disable_userns() -> bool:
    """Whether this bubblewrap (0.8 or later, not setuid) can forbid user namespaces inside.

    Elsewhere the filter of system calls refuses them alone.
    """
    trial = ["bwrap", *_ISOLATION, "--disable-userns", "--ro-bind", "/", "/", "--", "/bin/true"]
    return subprocess.run(trial, capture_output=True).returncode == 0


def _open_to_all(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (folder, *folder.parents))
