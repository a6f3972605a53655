"""What an evaluation of finished runs is, and where evaluations are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from paceline.config.recipe import Recipe
from paceline.evaluate.adapters import BASE, AdapterSet
from paceline.evaluate.progress import EvaluationProgress
from paceline.evaluate.registry import Registry
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluations import EvaluationResult
from paceline.runs.records import Record, read_records, write_record, write_records
from paceline.runs.seals import seal

Settings = TypeVar("Settings", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class EvaluationGroup:
    """Finished runs over one base that are evaluated together, with the base itself.

    Answers and replies are gathered in `scratch`, from where a stopped evaluation goes on.
    """

    adapter_set: AdapterSet
    directories: Sequence[RunDirectory]
    scratch: Path
    progress: EvaluationProgress

    def names_of(self, directory: RunDirectory) -> set[str]:
        """Whose results a run's folder gets: its own and the base's."""
        return {BASE, directory.name}

    def share_records(self, file: str, kind: type[Record]) -> None:
        """Copies each run's lines of a file in `scratch`, and the base's, into the run's eval folder.

        The file itself, whole now, is sealed.
        """
        seal(self.scratch / file)
        records: list[Any] = read_records(self.scratch / file, kind)
        for directory in self.directories:
            if directory.eval != self.scratch:
                own = [record for record in records if record.run in self.names_of(directory)]
                write_records(directory.eval / file, own)

    def share_summary(self, file: str, summary: Any) -> None:
        """Writes each run's part of a summary, and the base's, into the run's eval folder."""
        for directory in self.directories:
            names = self.names_of(directory)
            runs = {name: scores for name, scores in summary.runs.items() if name in names}
            write_record(directory.eval / file, summary.model_copy(update={"runs": runs}))


class RunEvaluation(Protocol[Settings]):
    """One kind of evaluation. `kind` names it: in a recipe under `eval:`, in results, and in file names."""

    kind: str

    def settings(self, recipe: Recipe) -> Settings | None:
        """What a recipe asks for; None: this evaluation is not wanted."""
        ...

    def check(self, settings: Settings) -> None:
        """Refuses, before anything is trained, what would fail afterwards.

        Raises:
            PacelineError: data, questions, a judge, a compiler or a sandbox that is not there.
        """
        ...

    def evaluate(self, settings: Settings, group: EvaluationGroup) -> EvaluationResult:
        """Evaluates the runs, and writes each run's share of the results into its eval folder."""
        ...


EVALUATIONS: Registry[RunEvaluation[Any]] = Registry(
    "paceline.evaluations",
    "evaluation",
    {
        "mtbench": "paceline.evaluate.mtbench.evaluation:MTBENCH",
        "code": "paceline.evaluate.code.evaluation:CODE",
        "forgetting": "paceline.evaluate.forgetting:FORGETTING",
    },
)
