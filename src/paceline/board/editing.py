"""A study as it is edited: what `check` and `plan` say of the text in the page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

from paceline.api import planning
from paceline.api.findings import change_of
from paceline.config.load import load_study
from paceline.config.study import Study
from paceline.errors import PacelineError
from paceline.report.format import SEEN, clock, seen
from paceline.runs.directory import RunDirectory
from paceline.runs.study import read_study_record

Table = tuple[list[str], list[list[str]]]


def study_text(path: Path, directories: list[RunDirectory]) -> str:
    """The study of a folder as YAML: the first run's recipe, and each run by what it sets otherwise."""
    record = read_study_record(path)
    recipes = {
        directory.name: directory.recipe().model_dump(mode="json", exclude_defaults=True)
        for directory in directories
        if directory.recipe_file.is_file()
    }
    common = next(iter(recipes.values()), {})
    common = {key: value for key, value in common.items() if all(key in own for own in recipes.values())}
    runs = [
        {"name": name, **{key: value for key, value in own.items() if common.get(key) != value}}
        for name, own in recipes.items()
    ]
    content = {"study": record.study, "objective": record.objective, "recipe": common, "runs": runs}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def answer(text: str, question: str, folder: Path) -> tuple[str, Table]:
    """What `paceline check` or `paceline plan` says: a sentence and a table.

    Raises:
        PacelineError: what either would refuse, or another question.
    """
    questions: dict[str, Callable[[Study], tuple[str, Table]]] = {
        "check": lambda study: _check(study, folder),
        "plan": _plan,
    }
    if question not in questions:
        raise PacelineError(f"{question[:100]}: neither check nor plan")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "study.yaml"
        file.write_text(text)
        try:
            return questions[question](load_study(file))
        except PacelineError as error:
            raise PacelineError(str(error).replace(str(file), "the text")) from error


def _check(study: Study, folder: Path) -> tuple[str, Table]:
    findings = planning.check(study, folder).grouped()
    rows = [[f.severity, f.rule, f.run, f.message, change_of(f)] for f in findings]
    said = "Nothing found that would go wrong." if not findings else f"{len(findings)} findings, worst first."
    return said, (["severity", "rule", "run", "what was found", "what to try"], rows)


def _plan(study: Study) -> tuple[str, Table]:
    cohorts = planning.plan(study)
    memory = "; ".join(
        f"{cohort.base}: {cohort.total / 1e9:.2f} GB of {cohort.available / 1e9:.2f} GB" for cohort in cohorts
    )
    rows = [
        [run.name, f"{run.steps:,}", f"{run.tokens:,}", seen(run.coverage), clock(run.seconds)]
        for cohort in cohorts
        for run in cohort.runs
    ]
    return f"Memory, {memory}.", (["run", "steps", "tokens", SEEN, "time alone"], rows)
