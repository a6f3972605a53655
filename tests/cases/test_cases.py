"""Small inputs that once went wrong in silence: each folder's commands, and what they must and must not say.

`expected.yaml` lists commands, each with its exit code (left out: any), texts that its output and errors
hold, and texts that they lack.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from warm_process import run_warm

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
CASES = sorted(path.parent for path in HERE.glob("*/expected.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_gives_what_it_should(case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs no shell runs in a process that has torch imported already."""
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "case"
    shutil.copytree(case, folder)
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PACELINE": f"{sys.executable} -m paceline",
        "PYTHONPATH": str(REPOSITORY / "src"),
        "REPO": str(REPOSITORY),
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
    }
    for step in yaml.safe_load((case / "expected.yaml").read_text()):
        program, *arguments = shlex.split(step["command"])
        if program == "$PACELINE" and not set("&|<>") & set(step["command"]):
            done = run_warm(*arguments, cwd=folder)
        else:
            done = subprocess.run(
                ["bash", "-c", step["command"]],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
            )
        said = done.stdout + done.stderr
        assert step.get("exit", done.returncode) == done.returncode, said
        for text in step.get("contains", []):
            assert str(text) in said, said
        for text in step.get("lacks", []):
            assert str(text) not in said, said
