"""What came of a study and of its runs, read from their directories, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

from paceline.api.comparison import Comparison, compare_directories
from paceline.api.curves import Curves
from paceline.api.findings import Findings
from paceline.api.html import heading, join, paragraph, table
from paceline.api.inspection import diagnose
from paceline.config.recipe import Recipe
from paceline.errors import RunError, nearest
from paceline.report.format import clock
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.evaluation_status import EvaluationStatus, evaluation_statuses
from paceline.runs.evaluations import EvaluationResult, FailedEvaluation
from paceline.runs.events import Event, read_events
from paceline.runs.files import JsonObject
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import read_study_record, run_directories

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunResult:
    """One run, finished or not. Its files are read when they are asked for, and once.

    Attributes:
        directory: where its files are.
        hypothesis: what it was to show.
        preflight: what the check found before it trained; empty for a run that is only opened.
    """

    directory: RunDirectory
    hypothesis: str = ""
    preflight: Findings = field(default_factory=Findings)

    @property
    def name(self) -> str:
        return self.directory.name

    @cached_property
    def status(self) -> RunStatus:
        """Its state, and how far it is: steps, tokens, seconds of training alone."""
        return self.directory.status()

    @cached_property
    def recipe(self) -> Recipe:
        """The complete recipe that it was trained with.

        Raises:
            RunError: a run that never began.
        """
        return self.directory.recipe()

    @cached_property
    def events(self) -> list[Event]:
        """Its log, in order."""
        return read_events(self.directory.events)

    @property
    def curves(self) -> Curves:
        """Its logged steps and evaluations."""
        return Curves({self.name: self.events})

    @cached_property
    def losses(self) -> ExampleLosses:
        """Losses of its held-out examples: arrays of shape (examples,), summed nats an example.

        Raises:
            RunError: a run that has not finished.
        """
        return self._losses("final")

    @cached_property
    def base_losses(self) -> ExampleLosses:
        """The bare base's on the same examples.

        Raises:
            RunError: a run that never began.
        """
        return self._losses("base")

    @cached_property
    def findings(self) -> Findings:
        """What the doctor's rules find in its log, worst first."""
        return diagnose(self.directory.path) if self.directory.events.is_file() else Findings()

    @property
    def adapter(self) -> Path:
        """The folder of its adapter, in PEFT's format.

        Raises:
            RunError: a run that has not finished.
        """
        if not (self.directory.adapter / "adapter_config.json").is_file():
            raise RunError(f"{self.name}: {self.status.state}, no adapter yet")
        return self.directory.adapter

    def to_dict(self) -> JsonObject:
        """Name, hypothesis, recipe, status and findings, JSON-ready."""
        return {
            "name": self.name,
            "hypothesis": self.hypothesis,
            "recipe": self.recipe.model_dump(mode="json"),
            "status": self.status.model_dump(),
            "findings": self.findings.to_dict(),
        }

    def to_pandas(self) -> pd.DataFrame:
        """Its curves: one row a logged step or evaluation."""
        return self.curves.to_pandas()

    def _repr_html_(self) -> Markup:
        status = self.status
        line = f"{status.state}, step {status.step}, {status.tokens:,} tokens in {clock(status.seconds)}"
        reason = [paragraph(status.reason)] if status.reason else []
        shown = [heading(self.name), paragraph(line), *reason, paragraph(self.hypothesis)]
        return join([*shown, self.curves._repr_html_(), self.findings._repr_html_()])

    def _losses(self, name: str) -> ExampleLosses:
        path = self.directory.eval / f"{name}.parquet"
        if not path.is_file():
            raise RunError(f"{self.name}: {self.status.state}, no {name} losses yet")
        return ExampleLosses.read(path)


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What came of a study: its runs in order, their comparison, what is odd about them.

    `result["name"]` is one run's; iterating gives all of them.

    Attributes:
        folder: the study's folder, the runs' directories in it.
        name: the study's.
        objective: what it was to find out.
        runs: one result a run, the baseline first.
        skipped: names of the runs that were over before.
        evaluations: the result of each evaluation that was done now; one that failed is a FailedEvaluation.
    """

    folder: Path
    name: str
    objective: str = ""
    runs: tuple[RunResult, ...]
    skipped: tuple[str, ...] = ()
    evaluations: Sequence[EvaluationResult] = field(default=(), repr=False)

    @classmethod
    def read(cls, folder: str | Path) -> StudyResult:
        """The same as `paceline.open_study`."""
        path = Path(folder)
        record = read_study_record(path)
        runs = (RunResult(d, record.hypotheses.get(d.name, "")) for d in run_directories([path]))
        return cls(folder=path, name=record.study, objective=record.objective, runs=tuple(runs))

    def __getitem__(self, name: str) -> RunResult:
        for run in self.runs:
            if run.name == name:
                return run
        names = [run.name for run in self.runs]
        raise KeyError(f"no run {name!r}{nearest(name, names)}; there are {', '.join(names)}")

    def __iter__(self) -> Iterator[RunResult]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def state(self) -> Literal["finished", "failed", "stopped"]:
        """stopped where something is left to do, else failed where a run failed, else finished."""
        if not all(run.status.over for run in self.runs):
            return "stopped"
        return "failed" if any(run.status.state == "failed" for run in self.runs) else "finished"

    @property
    def failed_evaluations(self) -> list[FailedEvaluation]:
        """The evaluations that could not be done, with the reasons; running the study again retries them."""
        return [result for result in self.evaluations if isinstance(result, FailedEvaluation)]

    @property
    def evaluation_statuses(self) -> list[EvaluationStatus]:
        """Every evaluation that was asked of the runs, and whether it was done."""
        return evaluation_statuses(run.directory for run in self.runs if run.directory.recipe_file.is_file())

    @cached_property
    def comparison(self) -> Comparison:
        """The finished runs against the first of them.

        Raises:
            RunError: no run has finished.
        """
        return compare_directories([run.directory for run in self.runs])

    @property
    def curves(self) -> Curves:
        """The logged steps and evaluations of all runs."""
        return Curves({run.name: run.events for run in self.runs})

    @property
    def preflight(self) -> Findings:
        """What the check found before training, worst first."""
        return Findings(finding for run in self.runs for finding in run.preflight)

    @property
    def findings(self) -> Findings:
        """What the doctor's rules find in the logs of all runs, worst first."""
        return Findings(finding for run in self.runs for finding in run.findings)

    def to_dict(self) -> JsonObject:
        """Name, state, runs and comparison (None where no run has finished), JSON-ready."""
        return {
            "study": self.name,
            "objective": self.objective,
            "state": self.state,
            "runs": [run.to_dict() for run in self.runs],
            "comparison": self.comparison.to_dict() if self._any_finished else None,
        }

    def to_pandas(self) -> pd.DataFrame:
        """One row a run, by name: its state, steps, tokens and seconds, and the figures of the comparison."""
        import pandas as pd

        fields = {"state", "step", "tokens", "seconds"}
        rows = [{"name": run.name, **run.status.model_dump(include=fields)} for run in self.runs]
        table = pd.DataFrame(rows).set_index("name")
        if not self._any_finished:
            return table
        figures = self.comparison.to_pandas()
        return table.join(figures[[column for column in figures if column not in table]])

    def _repr_html_(self) -> Markup:
        head = [heading(self.name), paragraph(self.objective)]
        rows = [(run.name, run.status.state, run.status.step) for run in self.runs]
        states = table(("run", "state", "step"), rows)
        shown = self.comparison._repr_html_() if self._any_finished else states
        return join([*head, shown, self.curves._repr_html_(), self.findings._repr_html_()])

    @property
    def _any_finished(self) -> bool:
        return any(run.status.state == "finished" for run in self.runs)


def open_study(folder: str | Path) -> StudyResult:
    """Opens a study's folder, or a single run's directory, wherever it was trained.

    Args:
        folder: the folder that holds study.yaml, or the run's with recipe.yaml.

    Raises:
        RunError: neither of them.
    """
    return StudyResult.read(folder)
