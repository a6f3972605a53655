"""A study's folder: what no run directory holds, in study.yaml beside them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from paceline.config.criteria import Criterion
from paceline.config.load import make
from paceline.config.names import RunName
from paceline.config.study import Study, recipe_differences
from paceline.config.yaml_text import read_yaml
from paceline.errors import PacelineError, RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.files import JsonObject, write_whole


class RunEntry(BaseModel):
    """A run of a study: its name (its directory's too), what it is to show, what it repeats, and its seed.

    `recipe` is the name that all replicates share. Files of older studies say neither that nor the seed.
    `not_as_written` holds what flags or a rehearsal changed: {field: (in the study's file, here)}.
    """

    model_config = ConfigDict(frozen=True)

    name: RunName
    hypothesis: str = ""
    recipe: str = ""
    seed: int | None = None
    expects: Criterion | None = None
    success: tuple[Criterion, ...] = ()
    not_as_written: JsonObject = {}

    @property
    def recipe_name(self) -> str:
        """The name of the recipe that this run is a replicate of, by default its own."""
        return self.recipe or self.name


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
    entries = [
        RunEntry(
            name=run.name,
            hypothesis=run.hypothesis,
            recipe=run.recipe_name,
            seed=run.recipe.seed,
            expects=run.expects,
            success=run.success,
            not_as_written=recipe_differences(run.written, run.recipe) if run.written else {},
        )
        for run in study.runs
    ]
    record = StudyRecord(study=study.name, objective=study.objective, runs=entries, published=study.published)
    write_whole(
        folder / "study.yaml",
        yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
    )


def refuse_other_study(study: Study, folder: Path) -> None:
    """Refuses a folder that holds another study's runs, and one inside the folder of a study.

    The record of a single run says of no other run that it is not to be there.

    Raises:
        RunError: with the study that is there.
    """
    inside = _record_of_begun(folder.resolve().parent)
    if inside is not None and [run.name for run in inside.runs] != [inside.study]:
        raise _refusal(folder.resolve().parent, inside, study)
    if not (folder / "study.yaml").is_file():
        return
    try:
        record = read_study_record(folder)
    except PacelineError:
        if any((folder / run.name / "recipe.yaml").is_file() for run in study.runs):
            return  # damaged, and about to be written again
        raise
    single = [run.name for run in record.runs] == [record.study]
    if record.study != study.name and not (single and len(study.runs) == 1):
        raise _refusal(folder, record, study)


def _record_of_begun(folder: Path) -> StudyRecord | None:
    """The record of a folder in which some of its runs have begun; other files have that name too."""
    if not (folder / "study.yaml").is_file():
        return None
    try:
        record = read_study_record(folder)
    except PacelineError:
        return None
    begun = any((folder / run.name / "recipe.yaml").is_file() for run in record.runs)
    return record if begun else None


def _refusal(folder: Path, there: StudyRecord, study: Study) -> RunError:
    return RunError(
        f"{folder} is the folder of the study {there.study!r}; choose another place for "
        f"{study.name!r} with --runs"
    )


def read_study_record(folder: Path) -> StudyRecord:
    """What study.yaml says; a folder without one is a single run's, and its name the study's."""
    path = folder / "study.yaml"
    if not path.is_file():
        return StudyRecord(study=folder.resolve().name)
    return make(StudyRecord, read_yaml(path), str(path))


@dataclass(frozen=True)
class RecipeGroup:
    """The replicates of one recipe, in the order of their study, and the seed of each.

    A run of an older study that has not begun has no seed yet: 0 stands for it.
    """

    name: str
    directories: tuple[RunDirectory, ...]
    seeds: tuple[int, ...]


def recipe_groups(directories: Iterable[RunDirectory]) -> list[RecipeGroup]:
    """Run directories by recipe, in the order of the first of each, as the study.yaml beside them says.

    Runs that no study.yaml names are groups of their own; a run given twice counts once. Recipes of several
    studies that have the same name are told apart by their folder.

    Raises:
        ConfigError: a study.yaml or recipe.yaml that cannot be read.
    """
    records: dict[Path, dict[str, RunEntry]] = {}
    groups: dict[tuple[Path, str], dict[Path, tuple[RunDirectory, int]]] = {}
    for directory in directories:
        path = directory.path.resolve()
        if path.parent not in records:
            records[path.parent] = {run.name: run for run in read_study_record(path.parent).runs}
        entry = records[path.parent].get(path.name, RunEntry(name=path.name))
        seed = entry.seed
        if seed is None:
            seed = directory.recipe().seed if directory.recipe_file.is_file() else 0
        groups.setdefault((path.parent, entry.recipe_name), {})[path] = directory, seed
    names = Counter(name for _, name in groups)
    return [
        RecipeGroup(f"{folder.name}/{name}" if names[name] > 1 else name, *zip(*found.values(), strict=True))
        for (folder, name), found in groups.items()
    ]


def run_directories(paths: Iterable[Path]) -> list[RunDirectory]:
    """The run directories that paths name: runs, or a study's folder, whose runs come in its order.

    Raises:
        RunError: a path that is neither, or a run whose files are damaged.
    """
    directories: list[RunDirectory] = []
    for path in paths:
        if (path / "recipe.yaml").is_file():
            directories.append(RunDirectory(path))
        elif (path / "study.yaml").is_file():
            directories += [RunDirectory(path / run.name) for run in read_study_record(path).runs]
        else:
            raise RunError(f"{path}: neither a run directory (recipe.yaml) nor a study's (study.yaml)")
    for directory in directories:
        directory.refuse_damaged()
    return directories
