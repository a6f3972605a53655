"""The course's commands run; its reference and its code are today's, and the site builds."""

import ast
import json
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from warm_process import run_warm

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"


@pytest.mark.slow
def test_every_command_prints_what_its_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the machine of the golden bits; on another the commands run, and a warning says so."""
    script = SimpleNamespace(**runpy.run_path(str(SCRIPTS / "run_course.py")))
    machine = runpy.run_path(str(SCRIPTS / "make_golden.py"))["machine"]()
    same = json.loads((ROOT / "tests/golden/golden.json").read_text())["machine"] == machine
    monkeypatch.setenv("COLUMNS", str(script.WIDTH))

    def run(command: str, folder: Path) -> str:
        printed = ""
        for part in command.split(" | "):
            program, *arguments = shlex.split(part)
            if program == "paceline" or (program == "python" and len(arguments) == 1):
                done = run_warm(*arguments, cwd=folder, stdin=printed, script=program == "python")
                assert done.returncode in (0, 1), f"{command}\n{done.stderr}"
                printed = done.stdout
            else:
                printed = str(script.in_shell(part, folder, printed))
        return printed

    for page in script.pages():
        ran = script.with_output(page.read_text(), tmp_path, run)
        if same:
            assert script.masked(ran) == script.masked(page.read_text()), "run scripts/run_course.py"
    if not same:
        warnings.warn(
            "the course was made on another machine: what its commands print was not compared",
            Warning,  # one that every process of the tests knows, and no filter makes an error
            stacklevel=1,
        )


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
