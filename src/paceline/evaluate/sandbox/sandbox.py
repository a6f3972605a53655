"""Runs generated code where it can harm nothing: contained, within limits, watched from outside."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from paceline.errors import EvaluationError
from paceline.evaluate.sandbox.bubblewrap import Bubblewrap
from paceline.evaluate.sandbox.docker import Docker, find_docker
from paceline.evaluate.sandbox.limits import Limits, Result
from paceline.evaluate.sandbox.watch import Ways, watch


class Backend(Protocol):
    """What contains a command."""

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
        ...


class Uncontained:
    """Runs a command with our own rights, for users who accept that; limits hold all the same."""

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
        """Runs it in `place` itself."""
        return watch(command, place, stdin, limits, Ways(out=out))


@dataclass(frozen=True)
class Sandbox:
    """Runs commands over a private /work in memory.

    There is no network, a read-only system, an empty environment, and no file of any user.
    """

    backend: Backend
    limits: Limits = field(default_factory=Limits)

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
            out: a folder outside, seen under its own path, that the command may write into.
            program: a binary outside, seen under its own path. It is run without /proc and beside the
                system's libraries alone, so that what it is told in `stdin` cannot be read behind its back.

        Returns:
            What it printed, standard error included, and how it ended.
        """
        with tempfile.TemporaryDirectory(prefix="paceline-") as folder:
            place = Path(folder)
            place.chmod(0o755)
            for name, text in files.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(text)
            return self.backend.run(
                command, place, stdin, limits or self.limits, environment or {}, out, program
            )


def open_sandbox(
    readable: Sequence[Path] = (),
    limits: Limits | None = None,
    accept_unsandboxed: bool = False,
    kind: str = "bubblewrap",
) -> Sandbox:
    """A sandbox that was tried out.

    Args:
        readable: folders that a command may read beside the system's (a toolchain).
        kind: bubblewrap or docker.

    Raises:
        EvaluationError: bubblewrap or Docker is missing, or does not work here, and running without was not
        accepted.
    """
    try:
        return _tried(kind, tuple(readable), limits or Limits())
    except EvaluationError as error:
        if accept_unsandboxed:
            return Sandbox(Uncontained(), limits or Limits())
        raise EvaluationError(
            f"generated code runs in a sandbox only, and {error}; leave out eval.code, "
            "or accept the risk with `paceline eval code --i-accept-unsandboxed`"
        ) from error


def _tried(kind: str, readable: tuple[Path, ...], limits: Limits) -> Sandbox:
    if kind == "docker":
        sandbox, name, hint = (
            Sandbox(Docker(find_docker(), readable), limits),
            "Docker",
            "is its daemon running?",
        )
    elif shutil.which("bwrap") is None:
        raise EvaluationError("bubblewrap is not installed (Debian, Ubuntu: apt-get install bubblewrap)")
    else:
        sandbox, name = Sandbox(Bubblewrap(readable), limits), "bubblewrap"
        hint = "the kernel may forbid user namespaces"
    # the first use of a container may have to fetch its image
    result = sandbox.run(["true"], {}, limits=replace(limits, seconds=600.0) if kind == "docker" else limits)
    if result.ok:
        return sandbox
    printed = result.output.strip().splitlines() or ["no reason given"]
    raise EvaluationError(f"{name} does not work here: {printed[0]}; {hint}")
