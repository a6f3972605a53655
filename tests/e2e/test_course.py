"""The course's commands run; its reference and its code are today's, and the site builds."""

import ast
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from warm_process import run_warm

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"


@pytest.mark.slow
def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = SimpleNamespace(**runpy.run_path(str(SCRIPTS / "run_course.py")))
    monkeypatch.setenv("COLUMNS", str(script.WIDTH))

    def run(command: str, folder: Path) -> str:
        if not command.startswith("paceline ") or " | " in command:
            return str(script.in_shell(command, folder))
        done = run_warm(*command.split()[1:], cwd=folder)
        assert done.returncode in (0, 1), f"{command}\n{done.stderr}"
        return done.stdout

    for page in script.pages():
        script.with_output(page.read_text(), tmp_path, run)


def test_the_reference_is_up_to_date() -> None:
    script = runpy.run_path(str(SCRIPTS / "make_reference.py"))
    for name, page in script["PAGES"].items():
        assert (script["FOLDER"] / name).read_text() == page(), f"run scripts/make_reference.py: {name}"


def test_quoted_errors_are_those_of_the_code() -> None:
    trees = [ast.parse(path.read_text()) for path in (ROOT / "src/paceline").rglob("*.py")]
    strings = {text for tree in trees for node in ast.walk(tree) if (text := text_of(node))}
    page = (ROOT / "docs/troubleshooting.md").read_text()
    quoted = [
        line for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) for line in block.splitlines()
    ]
    assert len(quoted) > 30
    assert not [line for line in quoted if line not in strings]


def text_of(node: ast.AST) -> str:
    """A text in the code, with … for each value in it."""
    if isinstance(node, ast.JoinedStr):
        parts = [str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values]
        return re.sub("…+", "…", "".join(parts))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_the_training_step_is_the_one_that_trains() -> None:
    code = textwrap.dedent((ROOT / "src/paceline/training/step.py").read_text())
    page = (ROOT / "docs/course/10-training-step.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks
    assert all(textwrap.indent(block, "    ").rstrip() in code for block in blocks)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    assert (tmp_path / "site" / "course" / "01-first-study.html").is_file()
