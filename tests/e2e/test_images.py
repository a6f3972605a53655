"""Dockerfiles and workflows name files and make targets that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_what_a_dockerfile_copies_and_runs_is_there(file: Path) -> None:
    text = file.read_text()
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.+)$", text, re.M)]
    sources = [source for words in copied for source in words]
    assert "src" in "".join(sources)
    scripts = re.findall(r"scripts/\w+\.sh", text)
    assert [name for name in [*sources, *scripts] if not (ROOT / name).exists()] == []
    assert all(any(script.startswith(source) for source in sources) for script in scripts)
    extras = set(re.findall(r"paceline\[([\w,]+)\]", text)[0].split(","))
    assert extras <= set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_dockerignore_lets_through_what_a_dockerfile_copies(file: Path) -> None:
    """Everything is ignored but what a line with ! names: a file, or a folder above it."""
    first, *lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert first == "*"
    let_through = {line[1:] for line in lines if line.startswith("!")}
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.+)$", file.read_text(), re.M)]
    assert {source for words in copied for source in words} <= let_through


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_what_a_workflow_makes_and_builds_is_there(file: Path) -> None:
    text = file.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    made = set(re.findall(r"\bmake ([a-z-]+)", text.replace("make dist/", "")))
    assert made
    assert made <= targets
    named = re.findall(r"-f (docker/[\w.]+)|run: (\.ci/\w+)", text)
    assert [name for pair in named for name in pair if name and not (ROOT / name).is_file()] == []
