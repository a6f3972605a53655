"""A sandbox of containers: Docker or Podman, with the runtime that they are told to use."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paceline.errors import EvaluationError
from paceline.evaluate.sandbox.bubblewrap import COPY_FIRST
from paceline.evaluate.sandbox.limits import Limits, Result
from paceline.evaluate.sandbox.watch import Ways, watch

# Has gcc, g++ and Python; PACELINE_SANDBOX_IMAGE names another.
IMAGE = "buildpack-deps:bookworm"
_NOBODY = "65534:65534"
# The client has an address space of its own to live in; what it starts is held to its limits by the daemon.
_CLIENT = Limits(memory=16 * 2**30, processes=256, files=2**30)


def find_docker() -> str:
    """The command: docker, else podman.

    Raises:
        EvaluationError: neither is installed.
    """
    found = shutil.which("docker") or shutil.which("podman")
    if found is None:
        raise EvaluationError("neither docker nor podman is installed")
    return found


@dataclass(frozen=True)
class Docker:
    """A container for each run, removed afterwards.

    The image is PACELINE_SANDBOX_IMAGE, and PACELINE_SANDBOX_RUNTIME names a runtime such as runsc (gVisor):
    settings of a machine, which no recipe has a say in.
    """

    docker: str
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
        name = f"paceline-{secrets.token_hex(8)}"
        if out is not None:
            out.chmod(0o777)  # nobody writes there
        wrapped = self._wrap(name, command, place, limits, environment, out, program)
        client = replace(_CLIENT, seconds=limits.seconds, output=limits.output)
        try:
            result = watch(wrapped, place, stdin, client, Ways(stop=lambda: self._kill(name)))
            was_killed = self._ask("inspect", "--format", "{{.State.OOMKilled}}", name) == "true"
            return replace(result, ended="memory") if was_killed and result.ended is None else result
        finally:
            self._ask("rm", "--force", name)

    def _kill(self, name: str) -> None:
        self._ask("kill", name)

    def _ask(self, *words: str) -> str:
        done = subprocess.run([self.docker, *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def _wrap(
        self,
        name: str,
        command: Sequence[str],
        place: Path,
        limits: Limits,
        environment: Mapping[str, str],
        out: Path | None,
        program: Path | None,
    ) -> list[str]:
        words = [self.docker, "run", "--name", name, "--interactive", "--network", "none", "--read-only"]
        words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", _NOBODY]
        words += ["--memory", str(limits.memory), "--memory-swap", str(limits.memory)]
        words += [
            "--pids-limit",
            str(limits.tasks),
            "--ulimit",
            f"fsize={limits.files}",
            "--ulimit",
            "core=0",
        ]
        for folder in ("/work", "/tmp"):
            words += ["--tmpfs", f"{folder}:rw,exec,mode=1777,size={limits.files}"]
        words += ["--shm-size", str(limits.files), "--workdir", "/work", "--hostname", "sandbox"]
        if runtime := os.environ.get("PACELINE_SANDBOX_RUNTIME"):
            words += ["--runtime", runtime]
        for path in (*self.readable, *([program] if program else [])):
            words += ["--volume", f"{path}:{path}:ro"]
        words += ["--volume", f"{place}:/given:ro"]
        words += ["--volume", f"{out}:{out}"] if out is not None else []
        for key, value in {"HOME": "/work", **environment}.items():
            words += ["--env", f"{key}={value}"]
        words += ["--entrypoint", ""]
        image = os.environ.get("PACELINE_SANDBOX_IMAGE", IMAGE)
        return [*words, image, *(COPY_FIRST if program is None else []), *command]
