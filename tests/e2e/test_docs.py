"""Every command in the docs runs as it stands there, page by page, in a folder of its own."""

import json
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from warm_process import run_warm

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if "```console" in page.read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of(page: Any, tmp_path: Path) -> None:
    text = page.read_text()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for block in re.findall(r"```yaml\n(study: (\w+)\n.*?)```", text, re.DOTALL):
        (tmp_path / f"{block[1]}.yaml").write_text(block[0])
    (tmp_path / "questions.jsonl").write_text('{"prompt": "What is a slice?"}\n')
    stories = "".join(f'{{"text": "There were {number} slices."}}\n' for number in range(20))
    (tmp_path / "stories.jsonl").write_text(stories)
    sums = [{"question": f"What is {n} and 1?", "reply": f"It is {n + 1}."} for n in range(24)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sums))
    (tmp_path / "mtbench.jsonl").write_text(
        '{"question_id": 1, "category": "coding", "turns": ["What is a slice?", "And a vector?"]}\n'
    )
    commands = re.findall(r"^\$ paceline (.*)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        if command.startswith("serve "):
            assert serves(command.split(), tmp_path)
            continue
        done = run_warm(*shlex.split(command), cwd=tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def serves(command: Any, folder: Any) -> Any:
    """Whether a server comes up; it is ended then."""
    process = subprocess.Popen([sys.executable, "-m", "paceline", *command], cwd=folder)
    try:
        while process.poll() is None:
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{command[-1]}/health").status == 200
            except OSError:
                time.sleep(0.2)
        return False
    finally:
        process.terminate()
        process.wait()


def test_the_readme_names_every_page_and_every_command_exists() -> None:
    readme = (ROOT / "README.md").read_text()
    assert all(f"docs/{page.name}" in readme for page in (ROOT / "docs").glob("*.md"))
    for command in set(re.findall(r"^paceline ([a-z]+(?: (?:show|run)\b)?)", readme, re.MULTILINE)):
        done = subprocess.run(
            [sys.executable, "-m", "paceline", *command.split(), "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, command
