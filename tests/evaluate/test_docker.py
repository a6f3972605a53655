"""Containers as a sandbox, before a stand-in for Docker that checks what it is asked and runs it in bubblewrap."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import EvaluationError
from paceline.evaluate.sandbox.limits import Limits
from paceline.evaluate.sandbox.sandbox import open_sandbox

pytestmark = pytest.mark.sandbox

DOCKER = r"""#!/usr/bin/env python3
import json, os, pathlib, subprocess, sys
here = pathlib.Path(__file__).parent
words = sys.argv[1:]
with open(here / "asked", "a") as file: file.write(json.dumps(words) + "\n")
if words[0] == "inspect": print(json.dumps((here / "killed").exists()))
if words[0] != "run": sys.exit()
image = words.index("IMAGE")
options = words[1:image]
mounts = [options[at + 1].split(":") for at, word in enumerate(options) if word == "--volume"]
command = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
for name in ("bin", "lib", "lib64"): command += ["--symlink", f"usr/{name}", f"/{name}"]
for source, target, *mode in mounts: command += ["--ro-bind" if mode == ["ro"] else "--bind", source, target]
os.execvp("bwrap", [*command, "--tmpfs", "/work", "--chdir", "/work", *words[image + 1:]])
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives what it was asked, a list of words a call."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PACELINE_SANDBOX_IMAGE", "IMAGE")
    return lambda: [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]


def open_docker(readable: Any = ()) -> Any:
    return open_sandbox(readable, Limits(seconds=5, memory=2**28, processes=8, files=2**24), kind="docker")


def test_a_container_is_held_to_its_limits_and_removed(
    docker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACELINE_SANDBOX_RUNTIME", "runsc")
    (tmp_path / "tools").mkdir()
    box = open_docker([tmp_path / "tools"])
    result = box.run(["sh", "-c", "cat d/x; read a; echo $a"], {"d/x": "beside\n"}, "given\n")
    assert (result.ok, result.output) == (True, "beside\ngiven\n")
    run, inspect, remove = docker()[-3:]
    asked = " ".join(run)
    for words in (
        "--network none --read-only --cap-drop ALL --security-opt no-new-privileges --user 65534:65534",
        f"--memory {2**28} --memory-swap {2**28} --pids-limit 32",
        f"--tmpfs /work:rw,exec,mode=1777,size={2**24} --tmpfs /tmp:rw,exec,mode=1777,size={2**24}",
        f"--shm-size {2**24}",
        "--runtime runsc",
        f"--volume {tmp_path}/tools:{tmp_path}/tools:ro",
    ):
        assert words in asked
    name = run[run.index("--name") + 1]
    assert inspect[-1] == name
    assert remove == ["rm", "--force", name]


def test_one_that_goes_on_is_killed_by_its_name_and_one_without_memory_is_told(
    docker: Any, tmp_path: Path
) -> None:
    box = open_docker()
    assert box.run(["sleep", "60"], {}, limits=Limits(seconds=3)).ended == "time"
    run = next(words for words in reversed(docker()) if words[0] == "run")
    assert ["kill", run[run.index("--name") + 1]] in docker()
    (tmp_path / "killed").touch()
    assert box.run(["false"], {}).ended == "memory"


def test_a_compiler_writes_out_and_the_program_sees_no_source(docker: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    box = open_docker()
    assert box.run(["sh", "-c", f"cp /bin/sh {out}/program"], {"x": "source"}, out=out).ok
    result = box.run([f"{out}/program", "-c", "echo /work/*"], {"x": "source"}, program=out / "program")
    assert result.output == "/work/*\n"


def test_without_docker_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        EvaluationError, match=r"neither docker nor podman is installed; leave out eval\.code"
    ):
        open_docker()


def test_a_daemon_that_does_not_answer_is_told(docker: Any, tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho Cannot connect to the daemon; exit 1\n")
    with pytest.raises(
        EvaluationError, match="Docker does not work here: Cannot connect to the daemon; is its"
    ):
        open_docker()
