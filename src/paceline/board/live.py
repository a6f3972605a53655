"""A study as its folder tells it now, as the parts of a page; what has not changed is not read again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment

from paceline.board.stop import trainers
from paceline.doctor.finding import SEVERITIES
from paceline.errors import PacelineError
from paceline.report.collect import StudyFacts, collect_study
from paceline.report.export import page_content
from paceline.report.watch import COLUMNS, SILENT_SECONDS, RunProgress, row
from paceline.runs.directory import RunDirectory
from paceline.runs.study import recipe_groups, run_directories

# Findings that the page lists; their number is said of all.
_FINDINGS = 50
_Seen = tuple[tuple[str, int, int], ...]


class Live:
    """Reads a study for all who look. Any thread may call.

    Args:
        path: a study's folder, or a run directory.
    """

    def __init__(self, path: Path, templates: Environment) -> None:
        self.path, self._templates = path, templates
        self._lock = threading.Lock()
        self._runs: dict[str, tuple[object, RunProgress]] = {}
        self._facts: tuple[_Seen, StudyFacts | None] | None = None
        self._parts: tuple[object, dict[str, str]] | None = None

    def directories(self) -> list[RunDirectory]:
        return run_directories([self.path])

    def parts(self) -> dict[str, str]:
        """{id: the HTML within it}."""
        with self._lock:
            # every second of a minute that a run is silent is the same, until it counts as silent
            seen = _seen(self.path), tuple(_is_silent(file) for file in self._logs())
            if self._parts is None or self._parts[0] != seen:
                self._parts = seen, self._read()
            return self._parts[1]

    def facts(self) -> StudyFacts | None:
        """What the report says, read again when results have changed; None: no run has begun."""
        with self._lock:
            return self._collected()

    def _read(self) -> dict[str, str]:
        try:
            directories = self.directories()
            recipes = {
                group.name: [self._progress(directory) for directory in group.directories]
                for group in recipe_groups(directories)
            }
            runs = [run for replicates in recipes.values() for run in replicates]
            facts = self._collected()
            findings = [(run.name, finding) for run in runs for finding in reversed(run.findings)]
            findings.sort(key=lambda pair: SEVERITIES.index(pair[1].severity))
            holding = trainers(directories)
        except (PacelineError, OSError) as error:
            return {"problem": self._render("problem", error=str(error))}
        headings = [name for name, _ in COLUMNS]
        rows = [
            (_state(replicates), [str(cell) for cell in row(name, replicates)])
            for name, replicates in recipes.items()
        ]
        endings = [f"{run.name}: {run.ending}" for run in runs if run.ending]
        content = page_content(facts) if facts else {}
        return {
            "problem": "",
            "runs": self._render("runs", headings=headings, rows=rows),
            "trainers": self._render("trainers", trainers=holding, is_over=all(run.over for run in runs)),
            "findings": self._render(
                "findings", findings=findings[:_FINDINGS], total=len(findings), endings=endings
            ),
            "answer": self._render("answer", **content),
        }

    def _render(self, part: str, **content: object) -> str:
        return self._templates.get_template(f"part-{part}.html.jinja").render(content)

    def _logs(self) -> Iterator[Path]:
        yield from (self.path / "events.jsonl", *self.path.glob("*/events.jsonl"))

    def _progress(self, directory: RunDirectory) -> RunProgress:
        seen = _seen(directory.path), _is_silent(directory.events)
        if (known := self._runs.get(directory.name)) is None or known[0] != seen:
            known = self._runs[directory.name] = seen, RunProgress.read(directory)
        return known[1]

    def _collected(self) -> StudyFacts | None:
        """The log alone moves every second; it is looked at again where a run ends or is evaluated."""
        seen = tuple(one for one in _seen(self.path) if not one[0].endswith((".jsonl", ".lock")))
        if self._facts is None or self._facts[0] != seen:
            begun = any(directory.recipe_file.is_file() for directory in self.directories())
            self._facts = seen, collect_study(self.path) if begun else None
        return self._facts[1]


def _state(replicates: Sequence[RunProgress]) -> str:
    """What a recipe's row stands out by: a replicate that failed, one that trains, else that all are over."""
    states = [run.state for run in replicates]
    if "failed" in states or "running" in states:
        return "failed" if "failed" in states else "running"
    return "over" if all(run.over for run in replicates) else ""


def _is_silent(log: Path) -> bool:
    try:
        return time.time() - log.stat().st_mtime > SILENT_SECONDS
    except OSError:
        return False


def _seen(path: Path) -> _Seen:
    """Name, time and size of the files of a study or a run, and of its evaluations."""
    found = []
    folders = [path, *(child for child in _folders(path) if child.name not in ("checkpoints", "adapter"))]
    for folder in [*folders, *(child / "eval" for child in folders)]:
        try:
            for entry in os.scandir(folder):
                if entry.is_file() and not entry.name.endswith(".partial"):
                    stat = entry.stat()
                    found.append((entry.path, stat.st_mtime_ns, stat.st_size))
        except OSError:  # it is not there, or goes while we look
            continue
    return tuple(sorted(found))


def _folders(path: Path) -> list[Path]:
    return [Path(entry.path) for entry in os.scandir(path) if entry.is_dir()] if path.is_dir() else []
