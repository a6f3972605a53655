"""Runs the commands of the course's pages and writes what they print below them.

python scripts/run_course.py

Blocks with a title are files. The pages share one folder and run in the order of their names, on one thread:
the order of sums, and so the last bits, depend on how many there are.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

COURSE = Path(__file__).parents[1] / "docs" / "course"
# Characters a line: what fits a page.
WIDTH = 88
_FILE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What a machine's speed, memory and load decide, and how wide a table is for it.
_MASKS = tuple(
    (re.compile(pattern, re.MULTILINE), mask)
    for pattern, mask in (
        (r"\b\d+:\d\d(:\d\d)?\b", "TIME"),
        (r"about [\d.]+ (second|minute|hour)s?", "about TIME"),
        (r"^(memory, MiB:) .*", r"\1 …"),
        (r"(finished   \d+/\d+ .*) [\d,]+$", r"\1 SPEED"),
        (r"\b[0-9a-f]{32}\b", "DIGEST"),
        (r"[ ─]+", " "),
    )
)

Run = Callable[[str, Path], str]


def pages() -> list[Path]:
    return sorted(COURSE.glob("*.md"))


def with_output(text: str, folder: Path, run: Run) -> str:
    """A page whose commands have run in a folder that then holds its files, their output below each."""
    for name, content in _FILE.findall(text):
        (folder / name).write_text(content)

    def shown(block: re.Match[str]) -> str:
        commands = [line[2:] for line in block[1].splitlines() if line.startswith("$ ")]
        return "```console\n" + "".join(f"$ {c}\n{_plain(run(c, folder))}" for c in commands) + "```"

    return _CONSOLE.sub(shown, text)


def _plain(output: str) -> str:
    """Without spaces at the ends of lines and empty lines around."""
    lines = "\n".join(line.rstrip() for line in output.splitlines()).strip("\n")
    return lines + "\n" if lines else ""


def masked(page: str) -> str:
    """A page without what depends on when and where its commands ran."""
    for pattern, mask in _MASKS:
        page = _CONSOLE.sub(lambda block, p=pattern, m=mask: p.sub(m, block[0]), page)  # type: ignore[misc]
    return page


def in_shell(command: str, folder: Path, stdin: str = "") -> str:
    """What a command prints to standard output; raises where it fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": str(WIDTH), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        input=stdin,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):  # 1: errors were found in what was checked
        raise SystemExit(f"{command}: exit code {done.returncode}")
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for page in pages():
            print(page.name, flush=True)
            page.write_text(with_output(page.read_text(), Path(folder), in_shell))


if __name__ == "__main__":
    main()
