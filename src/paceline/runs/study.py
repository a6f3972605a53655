"""A study's folder: what no run directory holds, in study.yaml beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from paceline.config.load import make, read_yaml
from paceline.config.study import Study
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.files import JsonObject, write_whole


class RunEntry(BaseModel):
    """A run of a study: its name, which is its directory's, its hypothesis, and the recipe of a replicate."""

    model_config = ConfigDict(frozen=True)

    name: str
    hypothesis: str = ""
    recipe: str = ""


@dataclass(frozen=True)
class RecipeGroup:
    """The runs of one recipe: its replicates, and the seed of each."""

    name: str
    directories: tuple[RunDirectory, ...]
    seeds: tuple[int, ...]


class StudyRecord(BaseModel):
    """What study.yaml holds: the runs in order, their hypotheses, and what the study's authors published."""

    model_config = ConfigDict(frozen=True)

    study: str
    objective: str = ""
    runs: list[RunEntry] = []
    published: JsonObject = {}

    @property
    def hypotheses(self) -> dict[str, str]:
        """{run: its hypothesis}."""
        return {run.name: run.hypothesis for run in self.runs}


def write_study_record(study: Study, folder: Path) -> None:
    """Writes study.yaml into a study's folder, in one step."""
    entries = [RunEntry(name=run.name, hypothesis=run.hypothesis) for run in study.runs]
    record = StudyRecord(study=study.name, objective=study.objective, runs=entries, published=study.published)
    write_whole(
        folder / "study.yaml", yaml.safe_dump(record.model_dump(), sort_keys=False, allow_unicode=True)
    )


def read_study_record(folder: Path) -> StudyRecord:
    """What study.yaml says; a folder without one is a single run's, and its name the study's."""
    path = folder / "study.yaml"
    if not path.is_file():
        return StudyRecord(study=folder.resolve().name)
    return make(StudyRecord, read_yaml(path), str(path))


def run_directories(paths: Iterable[Path]) -> list[RunDirectory]:
    """The run directories that paths name: runs, or a study's folder, whose runs come in its order.

    Raises:
        RunError: a path that is neither.
    """
    directories: list[RunDirectory] = []
    for path in paths:
        if (path / "recipe.yaml").is_file():
            directories.append(RunDirectory(path))
        elif (path / "study.yaml").is_file():
            directories += [RunDirectory(path / run.name) for run in read_study_record(path).runs]
        else:
            raise RunError(f"{path}: neither a run directory (recipe.yaml) nor a study's (study.yaml)")
    return directories


def recipe_groups(directories: Sequence[RunDirectory]) -> list[RecipeGroup]:
    """The runs by recipe, in their order, as the study.yaml beside them says; others are by themselves."""
    grouped: dict[tuple[Path, str], list[RunDirectory]] = {}
    names: dict[Path, dict[str, str]] = {}
    for directory in directories:
        folder = directory.path.parent
        if folder not in names:
            entries = read_study_record(folder).runs
            names[folder] = {entry.name: entry.recipe for entry in entries if entry.recipe}
        name = names[folder].get(directory.name, directory.name)
        grouped.setdefault((folder, name), []).append(directory)
    return [
        RecipeGroup(name, tuple(members), tuple(member.recipe().seed for member in members))
        for (_, name), members in grouped.items()
    ]
