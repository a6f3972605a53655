"""A whole study in one call: check, train, evaluate, compare.

The command line, notebooks, jobs and clusters all call this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from paceline.api.callbacks import evaluation_progress, of_study, tell, tell_notes, teller
from paceline.api.findings import CheckFailed, Findings
from paceline.api.loading import as_study
from paceline.api.progress import is_first_process
from paceline.api.results import RunResult, StudyResult
from paceline.config.names import check_run_name
from paceline.config.recipe import Recipe
from paceline.config.study import Study
from paceline.doctor.check import check_cohort
from paceline.doctor.live import LiveDoctor
from paceline.errors import RunError, TrainingError
from paceline.evaluate.mtbench.in_training import in_training_score
from paceline.evaluate.study import check_evaluations, evaluate_study
from paceline.model.base import Base
from paceline.report.trackers import Trackers, check_trackers
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluation_status import set_failed
from paceline.runs.evaluations import FailedEvaluation
from paceline.runs.files import told_when_full
from paceline.runs.lock import hold_all
from paceline.training.callbacks import Callback as TrainingCallback
from paceline.training.distributed import (
    DistributedContext,
    init_distributed,
    rank_local_folder,
    world_size,
)
from paceline.training.prepare import Prepared, Preparer
from paceline.training.study import TrainingOptions, train_study


def run_study(
    study: Study | str | Path,
    folder: str | Path,
    callbacks: Sequence[TrainingCallback] = (),
    *,
    check: bool = True,
    evaluate: bool = True,
    token_budget: int | None = None,
    shard_base: bool = False,
    extend: bool = False,
) -> StudyResult:
    """Checks a study, trains its runs together, and evaluates and compares them.

    Runs that are over are skipped and stopped ones go on, so the same call finishes what a stop, a crash or
    a new run in the study has left to do. Nothing is shown unless a callback shows it:
    `[paceline.ProgressBar()]`.

    Args:
        study: a study, or its file.
        folder: the study's folder; each run's directory is in it, under the run's name.
        callbacks: follow the study and may stop it; see `paceline.Callback`.
        check: look for what will go wrong before each cohort trains; an error refuses it.
        evaluate: do the evaluations that the recipes name (`eval`) on the finished runs.
        token_budget: tokens of one forward: more is faster on a GPU, less saves memory; no bit of a result
            changes.
        shard_base: under torchrun, spread the base over the GPUs (FSDP2).
        extend: let runs go on that were begun with fewer steps or other logging; a recipe that differs in
            more is refused, as all are without this.

    Returns:
        What came of it; `state` is stopped where a callback ended it. Comparing is done when it is asked for.

    Raises:
        CheckFailed: the check found an error; its `findings` say what, and nothing of the cohort was trained.
        PacelineError: bad input, in one line; nothing has been written then.
    """
    study, folder = as_study(study), Path(folder)
    if shard_base and world_size() == 1:
        raise TrainingError(
            "--shard-base spreads the base over several processes, and there is only this one: "
            "start them with torchrun (`torchrun --nproc-per-node 4 -m paceline train …`), or leave it out"
        )
    for run in study.runs:
        check_run_name(run.name)  # a copy of a study may have been given another
    tell_notes(callbacks, study)
    pending = [run.recipe for run in study.runs if extend or not _is_over(RunDirectory(folder / run.name))]
    check_trackers(pending)
    if evaluate:
        check_evaluations(pending)
    preflight = _Preflight(folder, callbacks)
    with (
        told_when_full(folder),
        _entered(callbacks),
        hold_all(folder / run.name for run in study.runs if is_first_process()),
    ):
        with init_distributed(shard_base) as distributed:
            skipped = _train(
                study, folder, callbacks, distributed, token_budget, preflight if check else None, extend
            )
        result = _result(study, folder, skipped, Findings(preflight.findings))
        if distributed.rank > 0:
            return result
        for callback in of_study(callbacks):
            callback.on_trained(result)
        directories = [run.directory for run in result]
        _write_left_out(study, directories)
        if skipped:
            tell(callbacks, f"finished before, skipped: {', '.join(skipped)}")
        if not evaluate or result.state == "stopped":
            return result
        return replace(
            result, evaluations=evaluate_study(directories, folder, evaluation_progress(callbacks))
        )


def train(
    recipe: Recipe | str | Path,
    folder: str | Path,
    callbacks: Sequence[TrainingCallback] = (),
    *,
    check: bool = True,
    evaluate: bool = True,
    token_budget: int | None = None,
    shard_base: bool = False,
    extend: bool = False,
) -> RunResult:
    """Checks, trains and evaluates one run: a study of one.

    Args:
        recipe: a recipe, or its file.
        folder: the run directory; its name is the run's.
        callbacks, check, evaluate, token_budget, shard_base, extend: as in `paceline.run_study`.

    Raises:
        CheckFailed: the check found an error; its `findings` say what, and nothing was trained.
        PacelineError: bad input, in one line; nothing has been written then.
    """
    path = Path(folder).resolve()
    check_run_name(path.name)
    given = as_study(recipe)
    run = given.runs[0].model_copy(update={"name": path.name})
    study = given.model_copy(update={"name": path.name, "runs": [run]})
    result = run_study(
        study,
        path.parent,
        callbacks,
        check=check,
        evaluate=evaluate,
        token_budget=token_budget,
        shard_base=shard_base,
        extend=extend,
    )
    return result[path.name]


@dataclass
class _Preflight:
    """Checks each cohort before it trains; notes are left out, since nobody need do anything about them."""

    folder: Path
    callbacks: Sequence[TrainingCallback]
    findings: Findings = field(default_factory=Findings)

    def __call__(self, base: Base, preparer: Preparer, runs: Mapping[str, Prepared]) -> None:
        tell(self.callbacks, "checking what can be known before training")
        examined = check_cohort(base, preparer, runs, self.folder)
        found = Findings(finding for finding in examined if finding.severity != "note")
        for callback in of_study(self.callbacks):
            callback.on_check(found)
        if found.errors:
            raise CheckFailed(found)
        self.findings = Findings([*self.findings, *found])


def _train(
    study: Study,
    folder: Path,
    callbacks: Sequence[TrainingCallback],
    distributed: DistributedContext,
    token_budget: int | None,
    preflight: _Preflight | None,
    extend: bool,
) -> list[str]:
    """Trains what is left, with trackers and the live doctor; names of the runs that were over before."""
    with (
        rank_local_folder(distributed, folder) as own,
        Trackers(teller(callbacks)) as trackers,
    ):
        options = TrainingOptions(
            callbacks=[*callbacks, *([trackers] if distributed.rank == 0 else []), LiveDoctor()],
            make_scorer=in_training_score,
            token_budget=token_budget,
            distributed=distributed,
            extend=extend,
        )
        if preflight is not None:
            options = replace(options, preflight=preflight)
        return train_study(study, own, options).skipped


def _is_over(directory: RunDirectory) -> bool:
    """Whether nothing of a run is left to do; training mends a status that is damaged."""
    try:
        return directory.status().over
    except RunError:
        return False


def _write_left_out(study: Study, directories: Sequence[RunDirectory]) -> None:
    """Says in every run's eval folder which evaluations the study was asked for and left out."""
    for kind, reason in study.not_evaluated.items():
        for directory in directories:
            if directory.eval.is_dir():
                failed = FailedEvaluation(evaluation=kind, runs=(directory.name,), reason=reason)
                set_failed(directory.eval, failed)


def _result(study: Study, folder: Path, skipped: Sequence[str], preflight: Findings) -> StudyResult:
    return StudyResult(
        folder=folder,
        name=study.name,
        objective=study.objective,
        runs=tuple(
            RunResult(RunDirectory(folder / run.name), run.hypothesis, preflight.of_run(run.name))
            for run in study.runs
        ),
        skipped=tuple(skipped),
    )


@contextmanager
def _entered(callbacks: Sequence[TrainingCallback]) -> Iterator[None]:
    """The callbacks that are context managers, entered."""
    with ExitStack() as stack:
        for callback in callbacks:
            if isinstance(callback, AbstractContextManager):
                stack.enter_context(callback)
        yield
